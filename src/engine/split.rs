//! What a job's answer, the files that are here and its haul come to: what is to be fetched, and what the record says then.

use serde_json::Map;

use super::haul::Haul;
use crate::event::{is_for_good, is_settled};
use crate::manifest::{FileRecord, Manifest, MissingRecord, Reason};
use crate::plan::{self, FilePlan, Identity};
use crate::reply::Done;
use crate::retry::{Cause, Failure};

/// What is here of a job's outputs, and what is to be fetched.
#[derive(Default)]
pub(super) struct Split {
    /// Records that serve an output and stay.
    kept: Vec<FileRecord>,
    /// Records that serve an output which is fetched all the same; they stay where nothing comes.
    spare: Vec<FileRecord>,
    /// The places of the outputs that are to be fetched.
    pub(super) to_fetch: Vec<usize>,
}

/// What a record is to say of a job's outputs.
pub(super) struct Sum {
    /// The indices of all outputs: those of the answer, and those that the archive has beside them.
    pub(super) outputs: Vec<usize>,
    /// Files that stay.
    pub(super) kept: Vec<FileRecord>,
    /// Outputs of which nothing is here.
    pub(super) missing: Vec<MissingRecord>,
    /// Outputs of which nothing came, whatever is here of them.
    pub(super) lacking: Vec<MissingRecord>,
    /// Outputs whose files stay because nothing came in their place.
    pub(super) not_again: Vec<usize>,
    /// Whether the archive has files that serve no output of the answer.
    pub(super) has_others: bool,
}

impl Split {
    /// Splits an answer's outputs, which have these identities, into those that the files here serve and the others.
    ///
    /// With `force` all are to be fetched. A repair changes nothing but what is bad: with `mends` each file that is here
    /// keeps an output, and where one finds none there is no split.
    pub(super) fn of(
        done: &Done,
        identities: &[Identity],
        here: &[&FileRecord],
        before: Option<&Manifest>,
        force: bool,
        mends: bool,
    ) -> Option<Self> {
        // A record knows its output by the index that the answer gives, and the plan by the place in this answer.
        let place_of = |index: usize| done.outputs.iter().position(|output| output.index == index);
        let placed = |file: &&FileRecord| FileRecord {
            output: place_of(file.output).unwrap_or(usize::MAX),
            ..(*file).clone()
        };
        let absent = before.map(|before| unlisted(before, here)).unwrap_or_default();
        let absent: Vec<&str> = absent.iter().flat_map(sources).collect();
        let here: Vec<FileRecord> = here.iter().map(placed).collect();
        let mut plans = plan::keep(identities, &here, &absent);
        if mends && !plan::keep_the_others(&mut plans, identities, &here, &absent) {
            return None;
        }
        let mut split = Self::default();
        for (place, file) in plans.into_iter().enumerate() {
            match file {
                FilePlan::Keep(record) => {
                    let record = FileRecord { output: done.outputs[place].index, ..*record };
                    if force {
                        split.spare.push(record);
                        split.to_fetch.push(place);
                    } else {
                        split.kept.push(record);
                    }
                }
                FilePlan::Fetch => split.to_fetch.push(place),
            }
        }
        Some(split)
    }

    /// What the record is to say when the haul is here too; `before` is what it says now.
    ///
    /// What it says is missing, or has lost its file, stays missing where this answer lists no such output any more and has
    /// nothing new, or where it may still come: a job is not complete because its answer got shorter.
    pub(super) fn sum(
        self,
        done: &Done,
        before: Option<&Manifest>,
        here: &[&FileRecord],
        force: bool,
        haul: &Haul,
    ) -> Sum {
        let others = self.others(here, force, haul);
        let Self { mut kept, mut spare, to_fetch } = self;
        spare.retain(|old| !haul.came.iter().any(|new| new.output == old.output));
        let mut outputs: Vec<usize> = done.outputs.iter().map(|output| output.index).collect();
        // Where nothing came at all, each file stays where it is.
        let asked_for: Vec<usize> = if haul.came.is_empty() {
            Vec::new()
        } else {
            to_fetch.iter().map(|place| outputs[*place]).collect()
        };
        let (mut lacking, has_others) = (haul.missing.clone(), !others.is_empty());
        for mut other in others {
            let files = kept.iter().chain(&spare).map(|file| file.output);
            let taken =
                files.chain(haul.came.iter().map(|new| new.output)).any(|output| output == other.output);
            // What was to come in its place, and may yet, is missing beside it.
            let is_awaited = asked_for.contains(&other.output)
                && !lacking.iter().any(|missing| missing.output == other.output && is_for_good(missing));
            // What has no place in this answer stays behind it.
            if taken || is_awaited || !outputs.contains(&other.output) {
                other.output = behind(&outputs);
                outputs.push(other.output);
            }
            lacking.retain(|missing| missing.output != other.output);
            kept.push(other);
        }
        let is_shorter = before.is_some_and(|before| before.outputs.unwrap_or(0) > done.outputs.len());
        // Each file that came is one of those, whatever stands behind the path that it shares with others.
        let mut came: Vec<&str> = haul.came.iter().map(|new| new.source.as_str()).collect();
        for mut missing in before.map(|before| unlisted(before, here)).unwrap_or_default() {
            let home = came.iter().position(|source| comes_from(&missing, source));
            let is_home = home.map(|home| came.swap_remove(home)).is_some();
            let may_come = to_fetch.is_empty() || !is_settled(&missing);
            if is_home || is_listed(&missing, done, is_shorter) || !may_come {
                continue;
            }
            if outputs.contains(&missing.output) {
                missing.output = behind(&outputs);
            }
            outputs.push(missing.output);
            lacking.push(missing);
        }
        let not_again: Vec<usize> = spare.iter().map(|file| file.output).collect();
        let is_here = |missing: &&MissingRecord| not_again.contains(&missing.output);
        let missing = lacking.iter().filter(|missing| !is_here(missing)).cloned().collect();
        kept.extend(spare);
        Sum { outputs, kept, missing, lacking, not_again, has_others }
    }

    /// Files that neither serve an output nor are replaced by what came: no run was asked to give them up.
    fn others(&self, here: &[&FileRecord], force: bool, haul: &Haul) -> Vec<FileRecord> {
        let served = |old: &FileRecord| self.kept.iter().chain(&self.spare).any(|new| new.path == old.path);
        let came_again = |old: &FileRecord| {
            let mut came = haul.came.iter();
            // What came may have taken the place of a file that moved there.
            let is_of_another = |output| self.spare.iter().any(|spare| spare.output == output);
            let replaces = |output| force && output == old.output && !is_of_another(output);
            came.any(|new| new.fetched.proven.digest == old.sha256 || replaces(new.output))
        };
        here.iter().filter(|old| !served(old) && !came_again(old)).map(|old| (*old).clone()).collect()
    }
}

/// The first index after all of these.
fn behind(outputs: &[usize]) -> usize {
    outputs.iter().max().map_or(0, |last| last + 1)
}

/// The outputs of which the archive has nothing, as the record knows them.
fn unlisted(before: &Manifest, here: &[&FileRecord]) -> Vec<MissingRecord> {
    let has_vanished = |file: &&FileRecord| !here.iter().any(|here| here.path == file.path);
    let vanished = before.files.iter().filter(has_vanished).map(|file| {
        let failure = Failure::new(Cause::Absent, "the answer no longer lists it");
        MissingRecord {
            output: file.output,
            gone: false,
            reasons: vec![Reason::of(&failure, Some(file.rung), Some(file.source.clone()))],
            unknown: Map::new(),
        }
    });
    before.missing.iter().cloned().chain(vanished).collect()
}

/// Whether this is a source of which the record says that it did not serve.
fn comes_from(missing: &MissingRecord, source: &str) -> bool {
    sources(missing).any(|of_missing| of_missing == source)
}

/// The sources of which the record says that they did not serve.
fn sources(missing: &MissingRecord) -> impl Iterator<Item = &str> {
    missing.reasons.iter().filter_map(|reason| reason.source.as_deref())
}

/// Whether the answer lists the output: by its index, or by one of its links where the answer is shorter than the one
/// before, so that its indices may have moved.
fn is_listed(missing: &MissingRecord, done: &Done, is_shorter: bool) -> bool {
    let has_source = missing.reasons.iter().any(|reason| reason.source.is_some());
    done.outputs.iter().any(|output| {
        let mut links = [&output.source, &output.proxy].into_iter().flatten();
        if is_shorter && has_source {
            links.any(|link| comes_from(missing, &link.shown()))
        } else {
            output.index == missing.output
        }
    })
}
