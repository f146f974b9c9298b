//! The tables, as markdown for people and JSON for programs.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::run::Run;
use crate::section::Section;

/// Where and when this was measured.
pub(crate) struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    pub(crate) fn of(place: &Path) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let file_system =
            output("findmnt", &["-n", "-o", "FSTYPE,OPTIONS,SOURCE", "-T", &place.to_string_lossy()]);
        let command: Vec<_> = std::env::args().skip(1).collect();
        let facts = vec![
            ("machine", format!("{cpus} x {}", model.trim_start_matches(['\t', ' ', ':']))),
            ("kernel", output("uname", &["-sr"])),
            ("file system", file_system.split_whitespace().collect::<Vec<_>>().join(" ")),
            ("compiler", output("rustc", &["--version"])),
            ("command", format!("ringwal-peers {}", command.join(" "))),
            ("date", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ];
        Self { facts }
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// Everything, for people.
pub(crate) fn markdown(machine: &Machine, run: &Run, sections: &[Section]) -> String {
    let mut text = String::new();
    for (name, fact) in &machine.facts {
        text += &format!("- {name}: {fact}\n");
    }
    let seconds = run.duration.as_secs_f64();
    text += &format!(
        "- medians of {} rounds of {seconds} s each, contenders in turn, all in one process\n\n",
        run.rounds
    );
    for section in sections {
        text += &section.markdown();
    }
    for contender in &run.contenders {
        text += &format!("- `{}`: {}\n", contender.name(), contender.what());
    }
    text
}

/// Everything, for programs.
pub(crate) fn as_json(machine: &Machine, run: &Run, sections: &[Section]) -> Value {
    let facts = machine.facts.iter().map(|(name, fact)| ((*name).to_owned(), json!(fact)));
    json!({
        "machine": Value::Object(facts.collect()),
        "rounds": run.rounds,
        "seconds": run.duration.as_secs_f64(),
        "sections": sections.iter().map(Section::as_json).collect::<Vec<_>>(),
    })
}
