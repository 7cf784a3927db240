//! What a check found, as `--json` tells it.

use std::process::Command;

use serde_json::Value;

use super::Ended;

/// What was found.
pub struct Found {
    /// The run that found it.
    pub ended: Ended,
    /// What it wrote.
    pub json: Value,
}

impl Found {
    /// Runs a check that writes JSON.
    pub fn by(check: &mut Command) -> Found {
        let ended = Ended::of(check);
        let json = serde_json::from_slice(ended.stdout_bytes())
            .unwrap_or_else(|error| panic!("{error}: {}", ended.stderr()));
        Found { ended, json }
    }

    /// The findings of this id.
    pub fn of(&self, id: &str) -> Vec<&Value> {
        let findings = self.json["findings"].as_array().expect("findings");
        findings
            .iter()
            .filter(|finding| finding["id"] == id)
            .collect()
    }

    /// The levels of all findings of this id.
    pub fn levels(&self, id: &str) -> Vec<&str> {
        self.of(id)
            .iter()
            .map(|finding| finding["level"].as_str().expect("a level"))
            .collect()
    }

    /// The first finding of this id.
    pub fn text(&self, id: &str) -> &str {
        let found = self.of(id);
        assert!(!found.is_empty(), "no {id} in {}", self.json);
        found[0]["text"].as_str().expect("a text")
    }

    /// Asserts that a finding of this id has this level, and says these words.
    #[track_caller]
    pub fn is(&self, id: &str, level: &str, words: &str) {
        let fits = |finding: &&Value| finding["level"] == level && says(finding, "text", words);
        assert!(
            self.of(id).iter().any(fits),
            "{id} is not {level} '{words}': {:#}",
            self.json
        );
    }

    /// Asserts that one of this id is mended by this.
    #[track_caller]
    pub fn is_mended_by(&self, id: &str, mend: &str) {
        let fits = |finding: &&Value| says(finding, "mend", mend);
        assert!(
            self.of(id).iter().any(fits),
            "{id} is not mended by '{mend}': {:#}",
            self.json
        );
    }

    /// Asserts that all findings of this id are ok, and that there is one.
    #[track_caller]
    pub fn is_ok(&self, id: &str) {
        let levels = self.levels(id);
        let good = !levels.is_empty() && levels.iter().all(|level| *level == "ok");
        assert!(good, "{id} is not ok: {:#}", self.json);
    }
}

/// Whether a field of a finding contains these words.
fn says(finding: &Value, field: &str, words: &str) -> bool {
    finding[field]
        .as_str()
        .is_some_and(|text| text.contains(words))
}
