//! The account's listing: what one page of it says, which page to read next, and which of its links serve which output.
//!
//! The listing names ids and links, and no more: no dates, no families, no word on how a job stands. Its pages are
//! counted from the newest job, so they shift while new jobs arrive: what stood at the end of one page stands at the
//! beginning of the next, and when jobs are removed, what stood there is never seen. [`Pager`] reads on through both.

use std::collections::{HashSet, VecDeque};

use serde_json::Value;

use crate::job::{Family, JobId};
use crate::reply::{self, Head, Reply};
use crate::retry::{Cause, Failure};

/// The most rows that a page may have; the API allows no more.
pub const PER_PAGE: u64 = 30;
/// After a pass over the listing the first page is read again where the total has grown; so often at most.
const CATCH_UPS: u32 = 3;
/// Ids of the newest rows that are remembered, so that the first page is recognised when it is read again.
const NEWEST_KEPT: usize = 4_096;
/// Ids of the latest rows that are remembered: pages shift by a few rows, not by thousands.
const LATEST_KEPT: usize = 32_768;

/// What the account lists apart from one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AssetType {
    /// Videos and animations.
    Video,
    /// Images.
    Image,
    /// Voices, music and other sound.
    Voice,
    /// Models in three dimensions.
    ThreeD,
}

impl AssetType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Video, Self::Image, Self::Voice, Self::ThreeD];

    /// The word that the API takes.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Image => "image",
            Self::Voice => "voice",
            Self::ThreeD => "3d",
        }
    }

    /// The name of the family in which its ids are fetched unless the user says otherwise: the listing does not tell.
    #[must_use]
    pub fn family_name(self) -> &'static str {
        match self {
            Self::Video => "enterprise/video",
            Self::Image => "enterprise/images",
            Self::Voice => "enterprise/voice",
            Self::ThreeD => "enterprise/3d",
        }
    }

    /// The family of [`AssetType::family_name`], or the one that the user names.
    #[must_use]
    pub fn family(self, given: Option<&Family>) -> Option<Family> {
        given.cloned().or_else(|| Family::named(self.family_name()).ok())
    }
}

/// One job as the listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: JobId,
    /// Its links, in the order of its outputs.
    pub outputs: Vec<String>,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Its jobs, newest first.
    pub rows: Vec<Row>,
    /// Rows without an id that can be one.
    pub unreadable: usize,
    /// How many jobs the account has, where the page says so.
    pub total: Option<u64>,
    /// The number of the last page, where the page says so.
    pub last_page: Option<u64>,
}

/// Reads an answer of the listing.
///
/// | the answer | page |
/// | --- | --- |
/// | 200, `data` is an array, or an object of rows | its rows |
/// | 200, `success`, `data` is null | no row |
/// | an error in any of the forms that an answer about a job has | that failure |
/// | 200 and anything else | malformed |
///
/// # Errors
/// As [`reply::parse`]; what speaks of a job there is a request that was refused here.
pub fn parse(head: &Head<'_>, body: &[u8]) -> Result<Page, Failure> {
    if head.status == 200
        && let Ok(answer) = serde_json::from_slice::<Value>(body)
        && let Some(page) = page(&answer)
    {
        return Ok(page);
    }
    match reply::parse(head, body) {
        Ok(Reply::Done(_) | Reply::Pending(_)) => {
            Err(Failure::new(Cause::Malformed, "the listing has no `data`"))
        }
        Err(failure) if matches!(failure.cause, Cause::JobFailed | Cause::JobNotFound) => {
            Err(Failure { cause: Cause::Rejected, ..failure })
        }
        Err(failure) => Err(failure),
    }
}

fn page(answer: &Value) -> Option<Page> {
    let word = answer.get("status").and_then(Value::as_str).unwrap_or("success").to_ascii_lowercase();
    if matches!(word.as_str(), "error" | "failed") {
        return None;
    }
    let data: Vec<&Value> = match answer.get("data")? {
        Value::Array(rows) => rows.iter().collect(),
        Value::Object(rows) => rows.values().collect(),
        Value::Null => Vec::new(),
        _ => return None,
    };
    let rows: Vec<Row> = data.iter().filter_map(|row| read_row(row)).collect();
    let number = |name: &str| answer.get("pagination").and_then(|pagination| number(pagination.get(name)?));
    Some(Page {
        unreadable: data.len() - rows.len(),
        rows,
        total: number("total"),
        last_page: number("last_page"),
    })
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn read_row(row: &Value) -> Option<Row> {
    let id = match row.get("id")? {
        Value::Number(id) => id.to_string(),
        Value::String(id) => id.trim().to_owned(),
        _ => return None,
    };
    let links = ["output", "links", "link"].into_iter().filter_map(|name| row.get(name)).map(links);
    let outputs = links.into_iter().find(|links| !links.is_empty()).unwrap_or_default();
    Some(Row { id: JobId::new(&id).ok()?, outputs })
}

/// Links in an array, in an object, as one string, or as a string that holds an array.
fn links(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(String::new, |text| text.trim().to_owned());
    match value {
        Value::Array(links) => links.iter().map(text).collect(),
        Value::Object(links) => links.values().map(text).collect(),
        Value::String(one) if one.trim_start().starts_with('[') => {
            serde_json::from_str(one).map(|array: Value| links(&array)).unwrap_or_default()
        }
        Value::String(one) if !one.trim().is_empty() => vec![one.trim().to_owned()],
        _ => Vec::new(),
    }
}

/// What a page held, as far as [`Pager`] has to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its rows, unreadable ones too.
    pub rows: u64,
    /// Those that this pass had not seen before, unreadable ones too.
    pub unseen: u64,
    /// Those of them of which the archive has no record.
    pub missing: u64,
    /// How many jobs the account has, where the page says so.
    pub total: Option<u64>,
    /// The number of the last page, where the page says so.
    pub last_page: Option<u64>,
}

/// What to do after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Read the page of this number.
    Read(u64),
    /// The listing is read.
    End,
}

/// Which page to read next.
#[derive(Clone, Debug)]
pub struct Pager {
    full: bool,
    page: u64,
    seen: u64,
    first_total: Option<u64>,
    last_total: Option<u64>,
    catch_ups: u32,
    catching_up: bool,
}

impl Pager {
    /// Begins at page 1. `full` reads on where a page holds nothing that the archive lacks.
    #[must_use]
    pub fn new(full: bool) -> Self {
        Self { full, page: 1, seen: 0, first_total: None, last_total: None, catch_ups: 0, catching_up: false }
    }

    /// The page to read now.
    #[must_use]
    pub fn page(&self) -> u64 {
        self.page
    }

    /// What to do after a page. The first row that holds decides:
    ///
    /// | the page | next |
    /// | --- | --- |
    /// | has no row | the pass is over |
    /// | comes after jobs were removed (the total is smaller than at the page before) | back by as many pages as moved up, and on from there |
    /// | holds nothing unseen, and is read to catch up | the pass is over |
    /// | holds nothing unseen, and no later page is announced | the pass is over: it repeats the last one |
    /// | holds nothing that the archive lacks, and not all is to be read | the pass is over |
    /// | as many jobs were seen as there are, and no later page is announced | the pass is over |
    /// | else | the page after it |
    ///
    /// After a pass: where the total has grown since its beginning, page 1 again to catch up, a few times at most; else
    /// the end.
    pub fn after(&mut self, held: Held) -> Turn {
        self.seen += held.unseen;
        let before = self.last_total;
        self.last_total = held.total.or(before);
        self.first_total = self.first_total.or(held.total);
        let removed = before.zip(held.total).map_or(0, |(before, now)| before.saturating_sub(now));
        let announced = held.last_page.is_some_and(|last| self.page < last);
        let over = match held {
            Held { rows: 0, .. } => true,
            _ if removed > 0 && self.page > 1 => {
                self.page = self.page.saturating_sub(removed.div_ceil(held.rows)).max(1);
                return Turn::Read(self.page);
            }
            Held { unseen: 0, .. } if self.catching_up || !announced => true,
            Held { missing: 0, .. } if !self.full => true,
            Held { total: Some(total), .. } => self.seen >= total && !announced,
            _ => false,
        };
        if !over {
            self.page += 1;
            return Turn::Read(self.page);
        }
        let grown = self.first_total.zip(self.last_total).is_some_and(|(first, last)| last > first);
        if !grown || self.catch_ups >= CATCH_UPS {
            return Turn::End;
        }
        self.catch_ups += 1;
        self.catching_up = true;
        self.first_total = self.last_total;
        self.page = 1;
        Turn::Read(1)
    }
}

/// Which rows were seen before, within bounded memory: the newest ones, and the latest ones.
#[derive(Debug, Default)]
pub struct SeenRows {
    newest: HashSet<String>,
    latest: HashSet<String>,
    in_order: VecDeque<String>,
}

impl SeenRows {
    /// Notes an id; whether it is new here.
    pub fn note(&mut self, id: &JobId) -> bool {
        let id = id.as_str();
        if self.newest.contains(id) || self.latest.contains(id) {
            return false;
        }
        if self.newest.len() < NEWEST_KEPT {
            self.newest.insert(id.into());
            return true;
        }
        if self.in_order.len() >= LATEST_KEPT
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.latest.remove(&oldest);
        }
        self.latest.insert(id.into());
        self.in_order.push_back(id.into());
        true
    }
}

/// Which listed link stands beside which output, as one more source of it. `outputs` holds the links that each output
/// has already.
///
/// | the listed links | beside |
/// | --- | --- |
/// | one is a link of some output already | nothing: it is no second source |
/// | as many as there are outputs | the output at the same place |
/// | more or fewer | the one output with a link of the same file name, if there is just one |
#[must_use]
pub fn pair(outputs: &[Vec<&str>], listed: &[String]) -> Vec<Option<String>> {
    let mut beside = vec![None; outputs.len()];
    let known = |link: &str| outputs.iter().flatten().any(|known| *known == link);
    for (place, link) in listed.iter().enumerate().filter(|(_, link)| !link.is_empty() && !known(link)) {
        let to = if listed.len() == outputs.len() {
            Some(place)
        } else {
            let mut same = (0..outputs.len())
                .filter(|at| outputs[*at].iter().any(|known| file_name(known) == file_name(link)));
            same.next().filter(|_| same.next().is_none())
        };
        if let Some(free) = to.and_then(|to| beside.get_mut(to)).filter(|free| free.is_none()) {
            *free = Some(link.clone());
        }
    }
    beside
}

/// The last segment of a link's path.
#[must_use]
pub fn file_name(link: &str) -> &str {
    let path = link.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;

    fn head(status: u16) -> Head<'static> {
        Head { status, content_encoding: None, retry_after: None, rate_limit_reset: None, now_unix_s: 0 }
    }

    fn row(id: &str, outputs: &[&str]) -> Row {
        Row { id: JobId::new(id).unwrap(), outputs: outputs.iter().map(|link| (*link).to_owned()).collect() }
    }

    #[test]
    fn a_page_is_read_in_all_its_forms() {
        let a = "https://m.test/a.mp4";
        let plain = Page { rows: vec![row("147", &[a])], total: Some(61), last_page: Some(3), unreadable: 0 };
        let bare = Page { total: None, last_page: None, ..plain.clone() };
        let none = Page { rows: vec![], ..bare.clone() };
        let table: [(&str, Page); 12] = [
            (
                r#"{"status":"success","type":"video","data":[{"id":147,"output":["https://m.test/a.mp4"]}],"pagination":{"current_page":1,"from":1,"last_page":3,"per_page":30,"to":30,"total":61}}"#,
                plain.clone(),
            ),
            (
                r#"{"status":"success","data":[{"id":"147","output":["https://m.test/a.mp4"]}],"pagination":{"last_page":"3","total":" 61 "}}"#,
                plain.clone(),
            ),
            (r#"{"data":{"0":{"id":" 147 ","output":"https://m.test/a.mp4"}}}"#, bare.clone()),
            (
                r#"{"status":"success","data":[{"id":147,"output":"[\"https:\/\/m.test\/a.mp4\"]"}],"pagination":null}"#,
                bare.clone(),
            ),
            (
                r#"{"status":"success","data":[{"id":147,"output":{"0":"https://m.test/a.mp4"}}],"pagination":[]}"#,
                bare.clone(),
            ),
            (
                r#"{"status":"success","data":[{"id":147,"output":[],"links":["https://m.test/a.mp4"]}]}"#,
                bare.clone(),
            ),
            (
                r#"{"status":"success","data":[{"id":147,"output":null}]}"#,
                Page { rows: vec![row("147", &[])], ..none.clone() },
            ),
            (
                r#"{"status":"success","data":[{"id":147,"output":[null,"https://m.test/a.mp4"]}]}"#,
                Page { rows: vec![row("147", &["", a])], ..none.clone() },
            ),
            (
                r#"{"status":"success","data":[{"id":"../x","output":[]},{"output":[]},{"id":null},7,{"id":147.5},{"id":147,"output":["https://m.test/a.mp4"]}]}"#,
                Page { unreadable: 4, rows: vec![row("147.5", &[]), row("147", &[a])], ..none.clone() },
            ),
            (r#"{"status":"success","data":[],"pagination":{"total":-1,"last_page":1.5}}"#, none.clone()),
            (r#"{"status":"success","data":null}"#, none.clone()),
            (r#"  {"status":"SUCCESS","data":[],"unknown":[1]}"#, none),
        ];
        for (body, want) in table {
            assert_eq!(parse(&head(200), body.as_bytes()).unwrap(), want, "{body}");
        }
    }

    #[test]
    fn an_error_in_place_of_a_page_is_the_failure_that_it_is_elsewhere() {
        let table: [(u16, &str, Cause); 8] = [
            (401, r#"{"status":"error","message":"Invalid API key"}"#, Cause::InvalidKey),
            (404, r#"{"status":"error","message":"not found"}"#, Cause::Rejected),
            (429, "{}", Cause::RateLimited),
            (503, "<html>", Cause::ServerError),
            (200, "<html>busy</html>", Cause::Malformed),
            (200, r#"{"status":"success","data":[{"id":1"#, Cause::Malformed),
            (200, r#"{"status":"failed","data":[],"message":"provider trouble"}"#, Cause::Rejected),
            (200, r#"{"status":"success","data":"x","output":["https://m.test/a.mp4"]}"#, Cause::Malformed),
        ];
        for (status, body, want) in table {
            assert_eq!(parse(&head(status), body.as_bytes()).unwrap_err().cause, want, "{status} {body}");
        }
    }

    fn held(rows: u64, unseen: u64, missing: u64) -> Held {
        Held { rows, unseen, missing, total: None, last_page: None }
    }

    #[test]
    fn pages_are_read_as_the_table_says() {
        let total = |held: Held, total: u64| Held { total: Some(total), ..held };
        let last = |held: Held, last: u64| Held { last_page: Some(last), ..held };
        // full, the pages in order with what follows each.
        let table: [(bool, &[(Held, Turn)]); 11] = [
            (true, &[(held(0, 0, 0), Turn::End)]),
            (
                true,
                &[
                    (held(30, 30, 0), Turn::Read(2)),
                    (held(30, 30, 0), Turn::Read(3)),
                    (held(0, 0, 0), Turn::End),
                ],
            ),
            (false, &[(held(30, 30, 1), Turn::Read(2)), (held(30, 30, 0), Turn::End)]),
            (true, &[(held(30, 30, 30), Turn::Read(2)), (held(30, 0, 0), Turn::End)]),
            // All that there is was seen: no request for an empty page.
            (
                true,
                &[
                    (last(total(held(30, 30, 30), 31), 2), Turn::Read(2)),
                    (last(total(held(1, 1, 1), 31), 2), Turn::End),
                ],
            ),
            // A page of repeats among later ones: thirty new jobs came between two requests, and are caught up with.
            (
                true,
                &[
                    (last(total(held(30, 30, 30), 90), 3), Turn::Read(2)),
                    (last(total(held(30, 0, 0), 120), 4), Turn::Read(3)),
                    (last(total(held(30, 30, 30), 120), 4), Turn::Read(4)),
                    (last(total(held(30, 30, 30), 120), 4), Turn::Read(5)),
                    (last(total(held(0, 0, 0), 120), 4), Turn::Read(1)),
                    (last(total(held(30, 30, 30), 120), 4), Turn::Read(2)),
                    (last(total(held(30, 0, 0), 120), 4), Turn::End),
                ],
            ),
            // Jobs were removed: what moved up is read again.
            (
                true,
                &[
                    (total(held(30, 30, 30), 90), Turn::Read(2)),
                    (total(held(30, 30, 30), 90), Turn::Read(3)),
                    (total(held(25, 25, 25), 85), Turn::Read(2)),
                    (total(held(30, 5, 5), 85), Turn::End),
                ],
            ),
            // A first page cannot have shifted, whatever the total.
            (
                true,
                &[
                    (total(held(30, 30, 30), 90), Turn::Read(2)),
                    (total(held(30, 30, 30), 30), Turn::Read(1)),
                    (total(held(30, 0, 0), 20), Turn::End),
                ],
            ),
            // The listing stops at what is known, and still catches up with what came meanwhile.
            (
                false,
                &[
                    (total(held(30, 30, 2), 90), Turn::Read(2)),
                    (total(held(30, 30, 0), 91), Turn::Read(1)),
                    (total(held(30, 1, 1), 91), Turn::Read(2)),
                    (total(held(30, 0, 0), 91), Turn::End),
                ],
            ),
            // A total that never stops growing is not followed for ever.
            (false, &[(total(held(30, 30, 0), 1), Turn::End)]),
            (
                false,
                &[
                    (total(held(9, 9, 1), 90), Turn::Read(2)),
                    (total(held(9, 9, 0), 91), Turn::Read(1)),
                    (total(held(9, 9, 0), 92), Turn::Read(1)),
                    (total(held(9, 9, 0), 93), Turn::Read(1)),
                    (total(held(9, 9, 0), 94), Turn::End),
                ],
            ),
        ];
        for (place, (full, pages)) in table.into_iter().enumerate() {
            let mut pager = Pager::new(full);
            for (step, (held, want)) in pages.iter().enumerate() {
                assert_eq!(pager.after(*held), *want, "row {place}, page {step}: {held:?}");
            }
        }
    }

    #[test]
    fn rows_are_remembered_within_bounds() {
        let mut seen = SeenRows::default();
        let id = |number: usize| JobId::new(&number.to_string()).unwrap();
        let all = NEWEST_KEPT + 2 * LATEST_KEPT;
        assert!((0..all).all(|number| seen.note(&id(number))));
        assert!(!seen.note(&id(0)) && !seen.note(&id(NEWEST_KEPT - 1)), "the newest");
        assert!(!seen.note(&id(all - 1)) && !seen.note(&id(all - LATEST_KEPT)), "the latest");
        assert!(seen.note(&id(all - LATEST_KEPT - 1)), "what lies between is forgotten");
        assert_eq!(
            (seen.newest.len(), seen.latest.len(), seen.in_order.len()),
            (NEWEST_KEPT, LATEST_KEPT, LATEST_KEPT)
        );
    }

    #[test]
    fn listed_links_stand_beside_the_output_that_they_belong_to() {
        let (a, b, c) = ("https://m.test/a.mp4", "https://m.test/b.mp4", "https://cdn.test/x/b.mp4");
        let table: [(&[&[&str]], &[&str], &[Option<&str>]); 7] = [
            (&[&[a], &[b]], &[a, b], &[None, None]),
            (&[&[a], &[b]], &["https://n.test/1.mp4", c], &[Some("https://n.test/1.mp4"), Some(c)]),
            (&[&[a], &[b]], &["", c], &[None, Some(c)]),
            (&[&[a], &[b]], &[c], &[None, Some(c)]),
            (&[&[a], &[b]], &["https://n.test/1.mp4"], &[None, None]),
            (&[&[b], &[b], &[a]], &[c], &[None, None, None]),
            (&[], &[c], &[]),
        ];
        for (outputs, listed, want) in table {
            let outputs: Vec<Vec<&str>> = outputs.iter().map(|links| links.to_vec()).collect();
            let listed: Vec<String> = listed.iter().map(|link| (*link).to_owned()).collect();
            let got = pair(&outputs, &listed);
            assert_eq!(got.iter().map(Option::as_deref).collect::<Vec<_>>(), want, "{listed:?}");
        }
    }

    /// A listing in memory, newest first.
    fn rows_of(listing: &[u32], page: u64) -> (Vec<u32>, u64) {
        let from = usize::try_from((page - 1) * PER_PAGE).unwrap().min(listing.len());
        let to = (from + usize::try_from(PER_PAGE).unwrap()).min(listing.len());
        (listing[from..to].to_vec(), listing.len() as u64)
    }

    proptest! {
        #[test]
        fn nothing_in_an_answer_makes_the_reader_panic(status in 0..600_u16, body in ".{0,200}") {
            let _ = parse(&head(status), body.as_bytes());
            let _ = parse(&head(200), format!("{{\"data\":[{{\"id\":1,\"output\":{body}}}]}}").as_bytes());
        }

        /// Jobs arrive, and jobs are removed, between any two requests.
        #[test]
        fn every_job_that_stays_listed_is_seen_however_the_pages_shift(
            count in 0..400_u32,
            changes in proptest::collection::vec((0..50_u32, 0..4_u32), 0..60),
            tells_total in any::<bool>(),
        ) {
            let mut listing: Vec<u32> = (0..count).rev().collect();
            let stays: HashSet<u32> = listing.iter().copied().filter(|id| id % 7 != 3).collect();
            let (mut next, mut changes) = (count, changes.into_iter());
            let (mut pager, mut seen) = (Pager::new(true), HashSet::new());
            for requests in 0.. {
                prop_assert!(requests < 500, "it does not end");
                let (rows, total) = rows_of(&listing, pager.page());
                let unseen = rows.iter().filter(|id| seen.insert(**id)).count() as u64;
                let last_page = tells_total.then_some(total.div_ceil(PER_PAGE).max(1));
                let total = tells_total.then_some(total);
                let held = Held { rows: rows.len() as u64, unseen, missing: unseen, total, last_page };
                if pager.after(held) == Turn::End {
                    break;
                }
                if let Some((arrive, remove)) = changes.next() {
                    // Without a total nobody can know that rows have moved up.
                    for _ in 0..if tells_total { remove } else { 0 } {
                        if let Some(at) = listing.iter().position(|id| id % 7 == 3) {
                            listing.remove(at);
                        }
                    }
                    // A page of nothing but repeats ends the pass where no total is told, so fewer arrive than a page has.
                    for _ in 0..arrive.min(if tells_total { u32::MAX } else { 29 }) {
                        listing.insert(0, next);
                        next += 1;
                    }
                }
            }
            prop_assert!(stays.iter().all(|id| seen.contains(id)), "missed {:?}", stays.difference(&seen));
        }
    }
}
