//! Which files of a record serve an output, so that only the others are fetched.

use crate::manifest::{FileRecord, Rung};
use crate::sha256::Digest;

/// What identifies an output's content: the paths of its links, or the digest of bytes in the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The paths of its URLs.
    pub paths: Vec<String>,
    /// The digest of its inline bytes.
    pub inline: Option<Digest>,
}

/// Whether an output is here already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePlan {
    /// This record's file serves it.
    Keep(Box<FileRecord>),
    /// It has to be fetched.
    Fetch,
}

/// Which records serve which outputs: a record stays with the output one of whose links has the path that the record
/// came from, wherever it stood in the list then. No record serves two outputs. A file that came from the account's
/// listing may have a link that no later answer repeats, and be the last copy there is: it stays in its place. A path
/// that several outputs have tells none of them: what differs may stand behind it, in a query that no record holds. So
/// does a path that another output of the record had, be its file here or `absent`, by its sources.
///
/// | the record's source | the outputs | plan |
/// | --- | --- | --- |
/// | has the path of one | | that one keeps it |
/// | has the path of several | | nobody keeps it |
/// | has the path of one, as another recorded output had | | nobody keeps it |
/// | has no such path | | nobody keeps it |
/// | has no such path, and came from the listing | the one at the record's index has no record | that one keeps it |
/// | bytes from the answer | one has the same bytes | that one keeps it |
#[must_use]
pub fn keep(outputs: &[Identity], records: &[FileRecord], absent: &[&str]) -> Vec<FilePlan> {
    let mut plans = vec![FilePlan::Fetch; outputs.len()];
    let holders = |path: &String| outputs.iter().filter(|output| output.paths.contains(path)).count();
    let mut give = |record: &FileRecord, path: Option<&String>, to: usize| {
        let free = plans[to] == FilePlan::Fetch && serves(record, path, &outputs[to]);
        if free {
            plans[to] = FilePlan::Keep(Box::new(record.clone()));
        }
        free
    };
    let paths: Vec<Option<String>> = records.iter().map(|record| path_of(&record.source)).collect();
    let absent: Vec<String> = absent.iter().filter_map(|source| path_of(source)).collect();
    let recorded_twice = |record: &FileRecord, path: &String| {
        let of_path = records.iter().zip(&paths).filter(|(_, other)| other.as_ref() == Some(path));
        absent.contains(path) || of_path.into_iter().any(|(other, _)| other.sha256 != record.sha256)
    };
    let mut moved: Vec<(&FileRecord, Option<&String>)> = Vec::new();
    for (record, path) in records.iter().zip(&paths) {
        let path = path.as_ref().filter(|path| holders(path) == 1 && !recorded_twice(record, path));
        if record.output >= outputs.len() || !give(record, path, record.output) {
            moved.push((record, path));
        }
    }
    moved.retain(|(record, path)| !(0..outputs.len()).any(|to| give(record, *path, to)));
    for (record, _) in moved.into_iter().filter(|(record, _)| record.rung == Rung::Listed) {
        if let Some(free) = plans.get_mut(record.output).filter(|plan| **plan == FilePlan::Fetch) {
            *free = FilePlan::Keep(Box::new(record.clone()));
        }
    }
    plans
}

fn path_of(source: &str) -> Option<String> {
    url::Url::parse(source).ok().map(|url| url.path().to_owned())
}

/// Which output of a second answer is this one again: never another one's file under its name.
///
/// | the second answer | it is |
/// | --- | --- |
/// | one output has a path or the bytes of this one, and of no other | that one, wherever it stands |
/// | as many outputs as before; what stands in this one's place has a path of this one | that one |
/// | as many outputs as before; what stands in this one's place is no other one's | that one, under a new path |
/// | anything else | not listed |
#[must_use]
pub fn renewed(place: usize, first: &[Identity], second: &[Identity]) -> Option<usize> {
    let this = first.get(place)?;
    let is_anothers = |output: &Identity| {
        let others = first.iter().enumerate().filter(|(other, _)| *other != place);
        others.map(|(_, other)| other).any(|other| other.shares(output))
    };
    let mut same = (0..second.len()).filter(|at| this.shares(&second[*at]));
    if let (Some(only), None) = (same.next(), same.next())
        && !is_anothers(&second[only])
    {
        return Some(only);
    }
    let there = second.get(place).filter(|_| first.len() == second.len())?;
    (this.shares(there) || !is_anothers(there)).then_some(place)
}

impl Identity {
    fn shares(&self, other: &Self) -> bool {
        self.paths.iter().any(|path| other.paths.contains(path))
            || self.inline.is_some() && self.inline == other.inline
    }
}

/// Keeps what [`keep`] gave to nobody in the place that its record has: for a repair, which changes nothing but what is
/// bad. `false` where one has no place among these outputs.
///
/// | the record | the output at its index | |
/// | --- | --- | --- |
/// | serves an output | | stays there |
/// | serves none | is to be fetched | keeps it |
/// | serves none | is kept by another record, does not exist, or has a path of what is `absent` | `false` |
#[must_use]
pub fn keep_the_others(
    plans: &mut [FilePlan],
    outputs: &[Identity],
    records: &[FileRecord],
    absent: &[&str],
) -> bool {
    let absent: Vec<String> = absent.iter().filter_map(|source| path_of(source)).collect();
    let is_anothers = |output: &Identity| output.paths.iter().any(|path| absent.contains(path));
    let placed = |plans: &[FilePlan], record: &FileRecord| {
        plans.iter().any(|plan| matches!(plan, FilePlan::Keep(kept) if kept.path == record.path))
    };
    records.iter().all(|record| {
        if placed(plans, record) {
            return true;
        }
        match plans.get_mut(record.output) {
            Some(free @ FilePlan::Fetch) if !is_anothers(&outputs[record.output]) => {
                *free = FilePlan::Keep(Box::new(record.clone()));
                true
            }
            Some(FilePlan::Fetch | FilePlan::Keep(_)) | None => false,
        }
    })
}

/// Whether a record whose source has this path is of the output's content.
fn serves(record: &FileRecord, path: Option<&String>, output: &Identity) -> bool {
    if record.rung == Rung::Inline {
        return output.inline == Some(record.sha256);
    }
    path.is_some_and(|path| output.paths.contains(path))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn record(output: usize, source: &str, rung: Rung) -> FileRecord {
        serde_json::from_value(serde_json::json!({
            "output": output, "path": format!("147-{output}.gif"), "bytes": 3, "sha256": Digest::of(source.as_bytes()),
            "kind": "gif", "source": source, "rung": rung, "attempts": 1, "archived_at": "2026-01-02T03:04:05Z"
        }))
        .unwrap()
    }

    fn paths(paths: &[&str]) -> Identity {
        Identity { paths: paths.iter().map(ToString::to_string).collect(), inline: None }
    }

    fn kept(outputs: &[Identity], records: &[FileRecord]) -> Vec<Option<usize>> {
        let source_of = |plan| match plan {
            FilePlan::Keep(record) => Some(records.iter().position(|other| *other == *record).unwrap()),
            FilePlan::Fetch => None,
        };
        keep(outputs, records, &[]).into_iter().map(source_of).collect()
    }

    #[test]
    fn a_second_answer_renews_an_output_by_its_path_and_by_its_place_only_where_that_is_no_others() {
        type Row<'a> = (usize, &'a [Identity], &'a [Identity], Option<usize>);
        let [a, b, c, new, both] =
            [&["/a", "/p/a"][..], &["/b"], &["/c"], &["/new"], &["/a", "/b"]].map(paths);
        let bytes = |text: &[u8]| Identity { paths: vec![], inline: Some(Digest::of(text)) };
        let ab = [a.clone(), b.clone()];
        let table: [Row<'_>; 13] = [
            (0, &ab, &[a.clone(), b.clone()], Some(0)),
            (0, &ab, &[b.clone(), a.clone()], Some(1)),
            (1, &ab, &[paths(&["/p/a"]), new.clone()], Some(1)),
            (0, &ab, std::slice::from_ref(&b), None),
            (1, &ab, std::slice::from_ref(&b), Some(0)),
            (0, &ab, std::slice::from_ref(&new), None),
            (0, &ab, &[new.clone(), c.clone()], Some(0)),
            (0, &ab, &[b.clone(), new.clone()], None),
            (0, &ab, &[both.clone(), both.clone()], Some(0)),
            (0, &[c.clone(), c.clone()], &[c.clone(), c.clone()], Some(0)),
            (1, &[c.clone(), c.clone()], std::slice::from_ref(&c), None),
            (1, &[bytes(b"x"), bytes(b"y")], &[bytes(b"y"), bytes(b"x")], Some(0)),
            (2, &ab, &ab, None),
        ];
        for (row, (place, first, second, want)) in table.into_iter().enumerate() {
            assert_eq!(renewed(place, first, second), want, "row {row}");
        }
    }

    #[test]
    fn a_record_stays_with_the_output_whose_path_it_came_from() {
        let (a, b) = ("https://m.test/x/a.gif", "https://proxy.test/x/b.gif");
        let (of_a, of_b) = (record(0, a, Rung::Output), record(1, b, Rung::Proxy));
        let both = [of_a.clone(), of_b.clone()];
        assert_eq!(kept(&[paths(&["/x/a.gif"]), paths(&["/y", "/x/b.gif"])], &both), [Some(0), Some(1)]);
        assert_eq!(
            kept(&[paths(&["/x/b.gif"]), paths(&["/x/a.gif"])], &both),
            [Some(1), Some(0)],
            "another order"
        );
        assert_eq!(
            kept(&[paths(&["/x/c.gif"]), paths(&["/x/a.gif"])], &both),
            [None, Some(0)],
            "never by index"
        );
        let twice = [paths(&["/x/a.gif"]), paths(&["/x/a.gif"])];
        assert_eq!(kept(&twice, &both), [None, None], "the query may tell them apart");
        let again = [of_a.clone(), record(1, a, Rung::Output)];
        assert_eq!(kept(&[paths(&["/x/a.gif"])], &again), [Some(0)], "one output, one record");
        assert_eq!(
            kept(&[paths(&["/x/a.gif"])], &[record(9, a, Rung::Output)]),
            [Some(0)],
            "an index too high"
        );
        assert_eq!(kept(&[paths(&[""])], &[record(0, "", Rung::Output)]), [None], "no source is no match");
        let inline = Identity { paths: vec![], inline: Some(Digest::of(b"")) };
        assert_eq!(kept(&[inline], &[record(0, "", Rung::Inline)]), [Some(0)]);
        assert_eq!(kept(&[paths(&[])], &[record(0, "", Rung::Inline)]), [None]);
    }

    #[test]
    fn a_file_of_the_listing_stays_in_its_place_where_no_answer_repeats_its_link() {
        let (a, b) = ("https://m.test/x/a.gif", "https://m.test/x/b.gif");
        let listed = |output, source| record(output, source, Rung::Listed);
        let other = [paths(&["/y"]), paths(&["/z"])];
        assert_eq!(kept(&other, &[listed(1, a)]), [None, Some(0)]);
        assert_eq!(kept(&other, &[listed(2, a)]), [None, None], "there is no such place");
        let moved = [paths(&["/x/b.gif"]), paths(&["/x/a.gif"])];
        assert_eq!(
            kept(&moved, &[listed(0, a), listed(1, b)]),
            [Some(1), Some(0)],
            "a link that is repeated decides"
        );
        let taken = [listed(0, a), record(0, b, Rung::Output)];
        assert_eq!(kept(&[paths(&["/x/b.gif"])], &taken), [Some(1)], "and so does another file's");
    }

    #[test]
    fn a_repair_keeps_what_is_not_bad_whatever_the_answer_says() {
        let (a, b) = ("https://m.test/x/a.gif", "https://m.test/x/b.gif");
        let (of_a, of_b) = (record(0, a, Rung::Output), record(1, b, Rung::Output));
        let mended = |outputs: &[Identity], records: &[FileRecord]| {
            let mut plans = keep(outputs, records, &[]);
            let all = keep_the_others(&mut plans, outputs, records, &[]);
            let path = |plan: &FilePlan| match plan {
                FilePlan::Keep(record) => record.path.clone(),
                FilePlan::Fetch => String::new(),
            };
            (plans.iter().map(path).collect::<Vec<_>>(), all)
        };
        let new = || paths(&["/new"]);
        let names = |names: [&str; 2]| names.map(String::from).to_vec();
        let only_b = std::slice::from_ref(&of_b);
        assert_eq!(mended(&[new(), new()], only_b), (names(["", "147-1.gif"]), true));
        assert_eq!(mended(&[paths(&["/x/b.gif"]), new()], only_b), (names(["147-1.gif", ""]), true));
        assert!(!mended(&[new()], only_b).1, "the output is not there any more");
        assert!(
            !mended(&[paths(&["/x/b.gif"]), paths(&["/x/c.gif"])], &[of_a, of_b]).1,
            "its place is taken"
        );
    }
}
