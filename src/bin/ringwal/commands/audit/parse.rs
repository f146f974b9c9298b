//! Reads the JSON form of an audit, and says what is wrong with what is none.

use ringwal::{ContributingAssertion, LifecycleStage, QueryAudit, QueryParams};
use serde_json::{Map, Value};

use super::{id, time};

/// What is wrong, and where: `params.subject: ...`.
type Parsed<T> = Result<T, String>;

/// The audit of a line.
pub(super) fn audit(line: &[u8]) -> Parsed<QueryAudit> {
    let value: Value = serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
    let mut audit = Fields::of("", value)?;
    let mut params = Fields::of("params", audit.needed("params")?)?;
    let parsed = QueryAudit {
        query_id: audit.needed("query_id").and_then(|value| id_of("query_id", &value))?,
        agent_id: audit.optional("agent_id", id_of)?,
        timestamp: audit.needed("timestamp").and_then(|value| time_of(&value))?,
        params: QueryParams {
            subject: params.needed("subject").and_then(|value| text_of("params.subject", &value))?,
            predicate: params.optional("predicate", text_of)?,
            lifecycle: params.optional("lifecycle", stage_of)?,
            epoch: params.optional("epoch", id_of)?,
            lens: params.optional("lens", text_of)?,
        },
        result_hash: audit.optional("result_hash", id_of)?,
        result_confidence: audit
            .needed("result_confidence")
            .and_then(|value| share_of("result_confidence", &value))?,
        contributing_assertions: audit
            .optional("contributing_assertions", assertions_of)?
            .unwrap_or_default(),
    };
    params.nothing_else()?;
    audit.nothing_else()?;
    parsed.check().map_err(|error| error.to_string())?;
    Ok(parsed)
}

fn assertions_of(path: &str, value: &Value) -> Parsed<Vec<ContributingAssertion>> {
    let Value::Array(all) = value else { return Err(format!("{path}: must be a list")) };
    let assertion = |(index, value): (usize, &Value)| {
        let mut fields = Fields::of(&format!("{path}[{index}]"), value.clone())?;
        let assertion = ContributingAssertion {
            assertion_hash: fields.needed_as("assertion_hash", id_of)?,
            weight: fields.needed_as("weight", share_of)?,
            source_hash: fields.needed_as("source_hash", id_of)?,
            lifecycle: fields.needed_as("lifecycle", stage_of)?,
        };
        fields.nothing_else()?;
        Ok(assertion)
    };
    all.iter().enumerate().map(assertion).collect()
}

/// The fields of one object, taken out one by one.
struct Fields {
    path: String,
    fields: Map<String, Value>,
}

impl Fields {
    fn of(path: &str, value: Value) -> Parsed<Self> {
        match value {
            Value::Object(fields) => Ok(Self { path: path.to_owned(), fields }),
            _ if path.is_empty() => Err("must be an object".to_owned()),
            _ => Err(format!("{path}: must be an object")),
        }
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn needed(&mut self, name: &str) -> Parsed<Value> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Err(format!("{}: is missing", self.path(name))),
            Some(value) => Ok(value),
        }
    }

    fn needed_as<T>(&mut self, name: &str, read: fn(&str, &Value) -> Parsed<T>) -> Parsed<T> {
        let value = self.needed(name)?;
        read(&self.path(name), &value)
    }

    fn optional<T>(&mut self, name: &str, read: fn(&str, &Value) -> Parsed<T>) -> Parsed<Option<T>> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(&self.path(name), &value).map(Some),
        }
    }

    fn nothing_else(self) -> Parsed<()> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("{}: there is no such field", self.path(name).escape_debug())),
        }
    }
}

fn id_of(path: &str, value: &Value) -> Parsed<[u8; 32]> {
    let text = text_of(path, value)?;
    id::parse(&text).map_err(|error| format!("{path}: {error}"))
}

fn text_of(path: &str, value: &Value) -> Parsed<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{path}: must be a text"))
}

fn stage_of(path: &str, value: &Value) -> Parsed<LifecycleStage> {
    let text = text_of(path, value)?;
    let named = LifecycleStage::ALL.into_iter().find(|stage| stage.name() == text);
    named.ok_or_else(|| {
        format!("{path}: {text:?} is none of Proposed, UnderReview, Approved, Deprecated and Rejected")
    })
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest f32 is what is meant")]
fn share_of(path: &str, value: &Value) -> Parsed<f32> {
    value.as_f64().map(|share| share as f32).ok_or_else(|| format!("{path}: must be a number"))
}

fn time_of(value: &Value) -> Parsed<u64> {
    match value {
        Value::String(text) => time::parse(text).map_err(|error| format!("timestamp: {error}")),
        value => value.as_u64().ok_or_else(|| {
            "timestamp: must be a whole number of nanoseconds, or a time in RFC 3339".to_owned()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::audit::{form, sample};

    #[test]
    fn every_audit_comes_back_from_its_form() {
        for audit in sample::audits(2_000, 7) {
            let line = form::audit(&audit).to_string();
            assert_eq!(super::audit(line.as_bytes()), Ok(audit), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = form::audit(&sample::audits(9, 1).last().unwrap());
        let wrong = |change: fn(&mut Value)| {
            let mut line = good.clone();
            change(&mut line);
            audit(line.to_string().as_bytes()).unwrap_err()
        };
        assert!(audit(b"{").unwrap_err().starts_with("no JSON"));
        assert_eq!(audit(b"[]").unwrap_err(), "must be an object");
        assert_eq!(wrong(|line| line["params"]["subject"] = Value::Null), "params.subject: is missing");
        assert_eq!(wrong(|line| line["colour"] = 1.into()), "colour: there is no such field");
        // A name is shown, and does nothing to a terminal.
        assert_eq!(wrong(|line| line["\u{1b}]0;x"] = 1.into()), "\\u{1b}]0;x: there is no such field");
        assert_eq!(wrong(|line| line["params"]["x"] = 1.into()), "params.x: there is no such field");
        assert_eq!(
            wrong(|line| line["result_confidence"] = 1.5.into()),
            "result_confidence is 1.5; it must be a number from 0 to 1"
        );
        assert!(wrong(|line| line["timestamp"] = (-1).into()).starts_with("timestamp: must be"));
        assert!(wrong(|line| line["timestamp"] = 1.5.into()).starts_with("timestamp: must be"));
        assert!(
            wrong(|line| line["query_id"] = "12".into()).starts_with("query_id: \"12\" has 2 hex digits")
        );
        assert!(
            wrong(|line| line["contributing_assertions"] = vec![1].into())
                .starts_with("contributing_assertions[0]: must")
        );
        assert!(wrong(|line| line["params"]["lifecycle"] = "approved".into()).contains("is none of"));
    }
}
