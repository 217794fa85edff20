//! What became of each fault: told from what is there after a repair, not from what the repair meant to do.

use super::Case;
use crate::event::is_for_good;
use crate::layout::MANIFEST_NAME;
use crate::manifest::{Manifest, Reason, State};
use crate::mend::{Left, Outcome};
use crate::retry::Failure;
use crate::verdict::{Finding, Verdict};

/// What became of one fault, told from what is there now.
pub(super) fn outcome(
    case: &Case,
    finding: &Finding,
    after: &[Finding],
    manifest: Option<&Manifest>,
) -> Outcome {
    let trouble = || {
        case.trouble.clone().unwrap_or_else(|| Left::NoSource("nothing that is here has the bytes".into()))
    };
    if after.iter().any(|still| still.name == finding.name) {
        return Outcome::Left { why: trouble() };
    }
    let Some(manifest) = manifest else {
        return if finding.verdict == Verdict::Extra {
            Outcome::PutAside
        } else {
            Outcome::Left { why: trouble() }
        };
    };
    if finding.name == MANIFEST_NAME {
        return match (manifest.state, &case.record_from) {
            (State::Failed | State::Gone, _) => Outcome::Gone { why: trouble().words().into() },
            (State::Pending, _) => Outcome::Left { why: trouble() },
            (_, from) => Outcome::Healed { from: from.clone().unwrap_or_else(|| "another run".into()) },
        };
    }
    let from = |output| case.from.get(&output).cloned().unwrap_or_else(|| "its own sources".into());
    if let Some(file) = manifest.files.iter().find(|file| file.path == finding.name) {
        return Outcome::Healed { from: from(file.output) };
    }
    let Some(output) = case.before.iter().find(|file| file.path == finding.name).map(|file| file.output)
    else {
        return Outcome::PutAside;
    };
    if let Some(other) = manifest.files.iter().find(|file| file.output == output) {
        return Outcome::Healed { from: format!("{}, as {} with other bytes", from(output), other.path) };
    }
    match manifest.missing.iter().find(|missing| missing.output == output) {
        Some(missing) if !is_for_good(missing) => Outcome::Left { why: trouble() },
        Some(missing) => Outcome::Gone { why: missing.reasons.last().map_or_else(String::new, words) },
        None => Outcome::Left { why: trouble() },
    }
}

fn words(reason: &Reason) -> String {
    Failure::new(reason.cause, reason.detail.clone()).to_string()
}

/// Why a job that was fetched is still not whole.
pub(super) fn why_incomplete(manifest: &Manifest) -> Left {
    let passing = manifest.missing.iter().find(|missing| !is_for_good(missing));
    let missing = passing.or(manifest.missing.first());
    let why = missing.and_then(|missing| missing.reasons.last()).map_or_else(String::new, words);
    if passing.is_some() { Left::Later(why) } else { Left::NoSource(why) }
}
