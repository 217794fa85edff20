//! Which jobs of an archive someone is looking for, and what of a record people know a job by.

use serde_json::Value;

use crate::manifest::{Manifest, State, seconds_of};

/// What people know a job by, as the service repeated the request's parameters; these are texts of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What was asked for.
    pub prompt: Option<String>,
    /// What was not wanted.
    pub negative_prompt: Option<String>,
    /// Which model made it.
    pub model: Option<String>,
    /// From which seed.
    pub seed: Option<String>,
}

impl Facts {
    /// Reads them from a record.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let fact = |names: &[&str]| {
            let meta = manifest.meta.as_ref()?;
            names.iter().find_map(|name| meta.get(*name).and_then(text))
        };
        Self {
            prompt: fact(&["prompt"]),
            negative_prompt: fact(&["negative_prompt"]),
            model: fact(&["model_id", "model", "model_name"]),
            seed: fact(&["seed"]),
        }
    }
}

/// A plain value as text; `None` for what is empty, absent or a structure.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What a job must be to be listed. The default one takes every job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Each of these must stand in the prompt, whatever its letter case.
    pub words: Vec<String>,
    /// This must stand in the model's name, whatever its letter case.
    pub model: Option<String>,
    /// The seed must be this one.
    pub seed: Option<String>,
    /// The family must be one of these; none takes all.
    pub families: Vec<String>,
    /// The state must be one of these; none takes all.
    pub states: Vec<State>,
    /// The job was first recorded then or later, in seconds since 1970.
    pub since: Option<u64>,
    /// The job was first recorded before then, in seconds since 1970.
    pub until: Option<u64>,
}

impl Query {
    /// Whether a job is one of those that are looked for.
    ///
    /// A record that does not tell what is asked about is not one of them.
    #[must_use]
    pub fn takes(&self, manifest: &Manifest, facts: &Facts) -> bool {
        let created = seconds_of(&manifest.created_at);
        let one_of =
            |wanted: &[String], have: &str| wanted.is_empty() || wanted.iter().any(|one| one == have);
        let holds = |have: Option<&String>, wanted: &str| {
            have.is_some_and(|have| have.to_lowercase().contains(&wanted.to_lowercase()))
        };
        one_of(&self.families, &manifest.job.family)
            && (self.states.is_empty() || self.states.contains(&manifest.state))
            && self.since.is_none_or(|since| created.is_some_and(|created| created >= since))
            && self.until.is_none_or(|until| created.is_some_and(|created| created < until))
            && self.seed.as_ref().is_none_or(|seed| facts.seed.as_ref() == Some(seed))
            && self.model.as_ref().is_none_or(|model| holds(facts.model.as_ref(), model))
            && self.words.iter().all(|word| holds(facts.prompt.as_ref(), word))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::job::{DEFAULT_ORIGIN, Defaults};

    fn manifest(meta: Value) -> Manifest {
        let job = Defaults::new(DEFAULT_ORIGIN, None).unwrap().parse("realtime/98").unwrap().job;
        let mut manifest = Manifest::new(&job, "2026-01-02T03:04:05Z");
        manifest.meta = serde_json::from_value(meta).unwrap();
        manifest
    }

    #[test]
    fn facts_are_read_in_every_form_that_occurs() {
        let full = manifest(serde_json::json!({"prompt": "A Red fox", "negative_prompt": "", "seed": 42,
            "model_id": null, "model": "sdxl", "model_name": "other"}));
        let want = Facts {
            prompt: Some("A Red fox".into()),
            negative_prompt: None,
            model: Some("sdxl".into()),
            seed: Some("42".into()),
        };
        assert_eq!(Facts::of(&full), want);
        let odd = manifest(serde_json::json!({"prompt": ["x"], "seed": "7", "model_id": true}));
        let want = Facts { seed: Some("7".into()), model: Some("true".into()), ..Facts::default() };
        assert_eq!(Facts::of(&odd), want);
        assert_eq!(Facts::of(&manifest(Value::Null)), Facts::default());
    }

    #[test]
    fn a_job_is_listed_where_everything_that_is_asked_holds() {
        let fox = manifest(
            serde_json::json!({"prompt": "A Red fox in snow", "seed": 42, "model_id": "SDXL-Turbo"}),
        );
        let text = |text: &str| Some(text.to_owned());
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let second = seconds_of("2026-01-02T03:04:05Z");
        let all = Query::default();
        let table = [
            (all.clone(), true),
            (Query { words: list(&["fox", "RED"]), ..all.clone() }, true),
            (Query { words: list(&["fox", "wolf"]), ..all.clone() }, false),
            (Query { model: text("sdxl"), ..all.clone() }, true),
            (Query { model: text("flux"), ..all.clone() }, false),
            (Query { seed: text("42"), ..all.clone() }, true),
            (Query { seed: text("4"), ..all.clone() }, false),
            (Query { families: list(&["video", "realtime"]), ..all.clone() }, true),
            (Query { families: list(&["enterprise/video"]), ..all.clone() }, false),
            (Query { states: vec![State::Pending, State::Gone], ..all.clone() }, true),
            (Query { states: vec![State::Complete], ..all.clone() }, false),
            (Query { since: second, ..all.clone() }, true),
            (Query { since: second.map(|second| second + 1), ..all.clone() }, false),
            (Query { until: second.map(|second| second + 1), ..all.clone() }, true),
            (Query { until: second, ..all.clone() }, false),
            (Query { words: list(&["fox"]), seed: text("43"), ..all.clone() }, false),
        ];
        for (query, want) in table {
            assert_eq!(query.takes(&fox, &Facts::of(&fox)), want, "{query:?}");
        }
        let silent = manifest(Value::Null);
        for query in [
            Query { words: list(&["fox"]), ..all.clone() },
            Query { seed: text("42"), ..all.clone() },
            Query { model: text(""), ..all },
        ] {
            assert!(!query.takes(&silent, &Facts::of(&silent)), "{query:?}");
        }
    }
}
