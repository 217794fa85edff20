//! The account's listing: what one page of it says, which page to read next, and which of its links serve which output.
//!
//! The listing names ids and links, and no more: no dates, no families, no word on how a job stands. Its pages are
//! counted from the newest job, so they shift while new jobs arrive: what stood at the end of one page stands at the
//! beginning of the next, and when jobs are removed, what stood there is never seen. [`Pager`] reads on through both.

use std::collections::{HashSet, VecDeque};

use serde_json::Value;
use url::Url;

use crate::job::{Family, JobError, JobId};
use crate::reply::{self, Head, Output, Source};
use crate::retry::{Cause, Failure};

/// The most rows that a page may have; the API allows no more.
pub const PER_PAGE: u64 = 30;
/// After a pass over the listing the first page is read again where the total has grown; so often at most.
const CATCH_UPS: u32 = 3;
/// So many pages in a row may hold nothing unseen: where many jobs are removed at once, as many pages are read again.
const STALE_PAGES: u64 = 1_000;
/// A page that is empty though its own pagination speaks of rows on it is read again so often before it is passed over.
const EMPTY_READS: u32 = 20;
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

    /// The family in which its ids are fetched: the one that the user names, else the one of its type.
    pub fn family(self, given: Option<&Family>) -> Result<Family, JobError> {
        given.map_or_else(|| Family::named(self.family_name()), |family| Ok(family.clone()))
    }
}

/// One job as the listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: JobId,
    /// Its links, in the order of its outputs; none where there is nothing that can be fetched.
    pub links: Vec<Option<Url>>,
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
/// | `data` is an array, or an object of rows | its rows |
/// | `data` is null | no row |
/// | there is no `data`, or it is something else | malformed |
/// | an error in any of the forms that an answer about a job has | that failure |
///
/// # Errors
/// As [`reply::answer`]; what speaks of a job there is a request that was refused here.
pub fn parse(head: &Head<'_>, body: &[u8]) -> Result<Page, Failure> {
    let answer = reply::answer(head, body).map_err(|failure| match failure.cause {
        Cause::JobFailed | Cause::JobNotFound => Failure { cause: Cause::Rejected, ..failure },
        _ => failure,
    })?;
    let data: Vec<&Value> = match answer.get("data") {
        Some(Value::Array(rows)) => rows.iter().collect(),
        Some(Value::Object(rows)) => rows.values().collect(),
        Some(Value::Null) => Vec::new(),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {
            return Err(Failure::new(Cause::Malformed, "the listing has no `data`"));
        }
    };
    let rows: Vec<Row> = data.iter().filter_map(|row| read_row(row)).collect();
    let number = |name: &str| number(answer.get("pagination")?.get(name)?);
    Ok(Page {
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
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn read_row(row: &Value) -> Option<Row> {
    let id = match row.get("id")? {
        Value::Number(id) if !id.is_f64() => id.to_string(),
        Value::String(id) => id.trim().to_owned(),
        _ => return None,
    };
    let link = |output: Output| match (output.source, output.proxy) {
        (Some(Source::Url(url)), _) | (_, Some(Source::Url(url))) => Some(url),
        _ => None,
    };
    let links = reply::outputs(row.as_object()?).into_iter().map(link).collect();
    Some(Row { id: JobId::new(&id).ok()?, links })
}

/// What a page held, as far as [`Pager`] has to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its rows, unreadable ones too.
    pub rows: u64,
    /// Those that this pass had not seen before.
    pub unseen: u64,
    /// Those without an id that can be one, which nobody can know again.
    pub unreadable: u64,
    /// Whether an earlier sync has vouched for one of them: it, and all that is older, was home then.
    pub vouched: bool,
    /// How many jobs the account has, where the page says so.
    pub total: Option<u64>,
    /// The number of the last page, where the page says so.
    pub last_page: Option<u64>,
}

/// What to do after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageTurn {
    /// Read the page of this number.
    Read(u64),
    /// The listing is read.
    End,
    /// The listing never stands still, or withholds a page, and cannot be read to its end.
    Restless,
}

/// Which page to read next.
#[derive(Clone, Debug)]
pub struct Pager {
    full: bool,
    page: u64,
    /// The most rows that a page had: a server may give fewer than it was asked for.
    largest: u64,
    seen: u64,
    last_total: Option<u64>,
    /// Whether jobs have arrived since this pass began.
    grown: bool,
    catch_ups: u32,
    catching_up: bool,
    /// Pages in a row that held nothing unseen.
    stale: u64,
    /// How often in a row the page was empty against its own pagination.
    empty: u32,
    /// How many such pages were passed over.
    gaps: u32,
}

impl Pager {
    /// Begins at page 1. `full` reads on beyond what an earlier sync has vouched for.
    #[must_use]
    pub fn new(full: bool) -> Self {
        Self {
            full,
            page: 1,
            largest: 1,
            seen: 0,
            last_total: None,
            grown: false,
            catch_ups: 0,
            catching_up: false,
            stale: 0,
            empty: 0,
            gaps: 0,
        }
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
    /// | is one of too many in a row that hold nothing unseen | none: the listing is restless |
    /// | comes after jobs were removed (the total is smaller than at the page before) | back by as many pages as moved up, and on from there |
    /// | has no row, though its own pagination speaks of rows on it | it again, and after many times the one after it |
    /// | has no row | the pass is over |
    /// | holds nothing unseen, and is read to catch up | the pass is over |
    /// | holds nothing unseen, and no later page is announced | the pass is over: it repeats the last one |
    /// | holds a job that was vouched for, and not all is to be read | the pass is over |
    /// | as many jobs were seen as there are, and no later page is announced | the pass is over |
    /// | else | the page after it |
    ///
    /// After a pass: where the total has grown between two of its pages, page 1 again to catch up, a few times at most;
    /// else the end, unless an empty page was passed over: nobody knows what it would have held.
    pub fn after(&mut self, held: Held) -> PageTurn {
        let is_news = held.unseen > 0 || held.rows == held.unreadable;
        self.seen += if is_news { held.unseen + held.unreadable } else { 0 };
        self.stale = if held.unseen > 0 { 0 } else { self.stale + 1 };
        if self.stale > STALE_PAGES {
            return PageTurn::Restless;
        }
        self.largest = self.largest.max(held.rows);
        let before = self.last_total;
        self.last_total = held.total.or(before);
        let removed = before.zip(held.total).map_or(0, |(before, now)| before.saturating_sub(now));
        self.grown |= before.zip(held.total).is_some_and(|(before, now)| now > before);
        let announced = held.last_page.is_some_and(|last| self.page < last);
        let is_empty = held.rows == 0 && self.announces_rows(held);
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        let over = match held {
            _ if removed > 0 && self.page > 1 => {
                self.page = self.page.saturating_sub(removed.div_ceil(self.largest)).max(1);
                return PageTurn::Read(self.page);
            }
            _ if is_empty && self.empty <= EMPTY_READS => return PageTurn::Read(self.page),
            _ if is_empty => {
                (self.empty, self.gaps) = (0, self.gaps + 1);
                false
            }
            Held { rows: 0, .. } => true,
            _ if !is_news && (self.catching_up || !announced) => true,
            Held { vouched: true, .. } if !self.full => true,
            Held { total: Some(total), .. } => self.seen >= total && !announced,
            _ => false,
        };
        if !over {
            self.page += 1;
            return PageTurn::Read(self.page);
        }
        if !std::mem::take(&mut self.grown) || self.catch_ups >= CATCH_UPS {
            return if self.gaps > 0 { PageTurn::Restless } else { PageTurn::End };
        }
        self.catch_ups += 1;
        self.catching_up = true;
        self.page = 1;
        PageTurn::Read(1)
    }

    /// Whether the pagination says that there are rows on this page. Without a total it is believed only once rows were
    /// seen: an account that has none may name any last page.
    fn announces_rows(&self, held: Held) -> bool {
        let has_rows = held.total.map_or(self.seen > 0, |total| total > 0);
        let last = held.last_page.or_else(|| Some(held.total?.div_ceil(self.largest)));
        has_rows && last.is_some_and(|last| self.page <= last)
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
/// | the listed link | beside |
/// | --- | --- |
/// | is a link of some output already | nothing: it is no second source |
/// | has the file name of one output's link, and of just that one | that output, wherever the link stands |
/// | has the file name of several, or of none; as many links as outputs | the output at its place, if it is one of the several |
/// | anything else | nothing |
///
/// Where two links claim one output, a name goes before a place, and the first before the second.
#[must_use]
pub fn pair(outputs: &[Vec<&Url>], listed: &[Option<Url>]) -> Vec<Option<Url>> {
    let mut beside = vec![None; outputs.len()];
    let known = |link: &Url| outputs.iter().flatten().any(|known| *known == link);
    let new = listed.iter().enumerate().filter_map(|(place, link)| Some((place, link.as_ref()?)));
    let mut by_place = Vec::new();
    for (place, link) in new.filter(|(_, link)| !known(link)) {
        let same = |at: &usize| outputs[*at].iter().any(|known| file_name(known) == file_name(link));
        let same: Vec<usize> = (0..outputs.len()).filter(same).collect();
        match same.as_slice() {
            [only] => {
                beside[*only].get_or_insert_with(|| link.clone());
            }
            several if listed.len() == outputs.len() && (several.is_empty() || several.contains(&place)) => {
                by_place.push((place, link));
            }
            _ => {}
        }
    }
    for (place, link) in by_place {
        beside[place].get_or_insert_with(|| link.clone());
    }
    beside
}

/// The last segment of a link's path.
#[must_use]
pub fn file_name(link: &Url) -> &str {
    link.path().rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;

    fn head(status: u16) -> Head<'static> {
        Head { status, ..Head::default() }
    }

    fn link(text: &str) -> Option<Url> {
        Url::parse(text).ok()
    }

    fn row(id: &str, links: &[&str]) -> Row {
        Row { id: JobId::new(id).unwrap(), links: links.iter().map(|text| link(text)).collect() }
    }

    #[test]
    fn a_page_is_read_in_all_its_forms() {
        let a = "https://m.test/a.mp4";
        let one = |row: Row| Page { rows: vec![row], ..Page::default() };
        let plain = Page { total: Some(61), last_page: Some(3), ..one(row("147", &[a])) };
        let table: [(&str, Page); 10] = [
            (
                r#""data":[{"id":147,"output":["https://m.test/a.mp4"]}],"pagination":{"current_page":1,"from":1,"last_page":3,"per_page":30,"to":30,"total":61}"#,
                plain.clone(),
            ),
            (
                r#""data":[{"id":"147","output":["https://m.test/a.mp4"]}],"pagination":{"last_page":"3","total":" 61 "}"#,
                plain,
            ),
            (r#""data":{"0":{"id":" 147 ","output":"https://m.test/a.mp4"}}"#, one(row("147", &[a]))),
            (
                r#""data":[{"id":147,"output":{"0":"https://m.test/a.mp4"}}],"pagination":[]"#,
                one(row("147", &[a])),
            ),
            (
                r#""data":[{"id":147,"output":[],"links":["https://m.test/a.mp4"]}],"pagination":null"#,
                one(row("147", &[a])),
            ),
            (r#""data":[{"id":147,"output":null}]"#, one(row("147", &[]))),
            (r#""data":[{"id":147,"output":["x","https://m.test/a.mp4"]}]"#, one(row("147", &["", a]))),
            (
                r#""data":[{"id":"../x","output":[]},{"output":[]},{"id":null},7,{"id":147.5},{"id":147,"output":["https://m.test/a.mp4"]}]"#,
                Page { unreadable: 5, ..one(row("147", &[a])) },
            ),
            (r#""data":[],"pagination":{"total":-1,"last_page":1.5}"#, Page::default()),
            (r#""data":null,"unknown":[1]"#, Page::default()),
        ];
        for (fields, want) in table {
            let body = format!("{{\"status\":\"success\",\"type\":\"video\",{fields}}}");
            assert_eq!(parse(&head(200), body.as_bytes()).unwrap(), want, "{body}");
        }
    }

    #[test]
    fn an_error_in_place_of_a_page_is_the_failure_that_it_is_elsewhere() {
        let table: [(u16, &str, Cause); 8] = [
            (401, r#"{"status":"error","message":"Invalid API key"}"#, Cause::InvalidKey),
            (200, r#"{"status":"error","message":"Invalid API key"}"#, Cause::InvalidKey),
            (404, r#"{"status":"error","message":"not found"}"#, Cause::Rejected),
            (503, "<html>", Cause::ServerError),
            (200, "<html>busy</html>", Cause::Malformed),
            (200, r#"{"status":"success","data":[{"id":1"#, Cause::Malformed),
            (200, r#"{"status":"failed","data":[],"message":"something else"}"#, Cause::Rejected),
            (200, r#"{"status":"success","data":"x","output":["https://m.test/a.mp4"]}"#, Cause::Malformed),
        ];
        for (status, body, want) in table {
            assert_eq!(parse(&head(status), body.as_bytes()).unwrap_err().cause, want, "{status} {body}");
        }
    }

    fn held(rows: u64, unseen: u64) -> Held {
        Held { rows, unseen, unreadable: 0, vouched: false, total: None, last_page: None }
    }

    #[test]
    fn types_have_the_words_that_the_api_takes() {
        assert_eq!(AssetType::ALL.map(AssetType::word), ["video", "image", "voice", "3d"]);
    }

    #[test]
    fn pages_are_read_as_the_table_says() {
        let total = |held: Held, total: u64| Held { total: Some(total), ..held };
        let last = |held: Held, last: u64| Held { last_page: Some(last), ..held };
        let vouched = |held: Held| Held { vouched: true, ..held };
        // What the pages hold in their order, with what follows each, and whether all is to be read.
        let table: [(bool, &[(Held, PageTurn)]); 13] = [
            (false, &[(held(0, 0), PageTurn::End)]),
            (false, &[(last(held(0, 0), 9), PageTurn::End)]),
            (
                false,
                &[
                    (held(30, 30), PageTurn::Read(2)),
                    (held(30, 30), PageTurn::Read(3)),
                    (held(0, 0), PageTurn::End),
                ],
            ),
            (false, &[(held(30, 30), PageTurn::Read(2)), (vouched(held(30, 30)), PageTurn::End)]),
            (true, &[(vouched(held(30, 30)), PageTurn::Read(2)), (held(0, 0), PageTurn::End)]),
            (false, &[(held(30, 30), PageTurn::Read(2)), (held(30, 0), PageTurn::End)]),
            // All that there is was seen: no request for an empty page.
            (
                false,
                &[
                    (last(total(held(30, 30), 31), 2), PageTurn::Read(2)),
                    (last(total(held(1, 1), 31), 2), PageTurn::End),
                ],
            ),
            // A page of repeats among later ones: thirty new jobs came between two requests, and are caught up with.
            (
                false,
                &[
                    (last(total(held(30, 30), 90), 3), PageTurn::Read(2)),
                    (last(total(held(30, 0), 120), 4), PageTurn::Read(3)),
                    (last(total(held(30, 30), 120), 4), PageTurn::Read(4)),
                    (last(total(held(30, 30), 120), 4), PageTurn::Read(5)),
                    (last(total(held(0, 0), 120), 4), PageTurn::Read(1)),
                    (last(total(held(30, 30), 120), 4), PageTurn::Read(2)),
                    (last(total(held(30, 0), 120), 4), PageTurn::End),
                ],
            ),
            // Jobs were removed: what moved up is read again.
            (
                false,
                &[
                    (total(held(30, 30), 90), PageTurn::Read(2)),
                    (total(held(30, 30), 90), PageTurn::Read(3)),
                    (total(held(25, 25), 85), PageTurn::Read(2)),
                    (total(held(30, 5), 85), PageTurn::End),
                ],
            ),
            (
                false,
                &[
                    (total(held(30, 30), 60), PageTurn::Read(2)),
                    (total(held(0, 0), 29), PageTurn::Read(1)),
                    (total(held(29, 0), 29), PageTurn::End),
                ],
            ),
            // What was removed before page 1 is read again moves nothing up to it.
            (
                false,
                &[
                    (last(total(held(30, 30), 60), 2), PageTurn::Read(2)),
                    (last(total(held(30, 30), 61), 2), PageTurn::Read(3)),
                    (held(0, 0), PageTurn::Read(1)),
                    (total(held(30, 0), 59), PageTurn::End),
                ],
            ),
            // The listing stops at what was vouched for, and still catches up with what came meanwhile.
            (
                false,
                &[
                    (total(held(30, 30), 90), PageTurn::Read(2)),
                    (vouched(total(held(30, 30), 91)), PageTurn::Read(1)),
                    (total(held(30, 1), 91), PageTurn::Read(2)),
                    (total(held(30, 0), 91), PageTurn::End),
                ],
            ),
            // A total that never stops growing is not followed for ever.
            (
                false,
                &[
                    (total(held(9, 9), 90), PageTurn::Read(2)),
                    (vouched(total(held(9, 9), 91)), PageTurn::Read(1)),
                    (vouched(total(held(9, 9), 92)), PageTurn::Read(1)),
                    (vouched(total(held(9, 9), 93)), PageTurn::Read(1)),
                    (vouched(total(held(9, 9), 94)), PageTurn::End),
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
    fn a_page_that_is_empty_against_its_own_pagination_is_read_again_and_no_end() {
        let total = |held: Held| Held { total: Some(90), ..held };
        let last = |held: Held| Held { last_page: Some(3), ..held };
        let both = |held: Held| last(total(held));
        let forms: [&dyn Fn(Held) -> Held; 3] = [&total, &last, &both];
        for form in forms {
            let mut pager = Pager::new(false);
            assert_eq!(pager.after(form(held(30, 30))), PageTurn::Read(2));
            assert_eq!(pager.after(form(held(0, 0))), PageTurn::Read(2));
            assert_eq!(pager.after(form(held(30, 30))), PageTurn::Read(3));
            assert_eq!(pager.after(form(held(0, 0))), PageTurn::Read(3));
            assert_ne!(pager.after(form(held(30, 30))), PageTurn::Read(3));
        }
        // One that stays empty hides neither those behind it nor that it may have held rows.
        let mut pager = Pager::new(false);
        assert_eq!(pager.after(both(held(30, 30))), PageTurn::Read(2));
        assert!((0..EMPTY_READS).all(|_| pager.after(both(held(0, 0))) == PageTurn::Read(2)));
        assert_eq!(pager.after(both(held(0, 0))), PageTurn::Read(3));
        assert_eq!(pager.after(both(held(30, 30))), PageTurn::Read(4));
        assert_eq!(pager.after(both(held(0, 0))), PageTurn::Restless);
    }

    #[test]
    fn a_listing_that_never_stands_still_is_given_up() {
        // Two replicas that answer in turn: page 1 says 61, page 2 says 60, and so on.
        let mut pager = Pager::new(true);
        let first = Held { total: Some(61), last_page: Some(3), ..held(30, 30) };
        assert_eq!(pager.after(first), PageTurn::Read(2));
        let turns = (0..=STALE_PAGES).map(|count| {
            let total = if count % 2 == 0 { 60 } else { 61 };
            pager.after(Held { total: Some(total), last_page: Some(3), ..held(30, 0) })
        });
        let turns: Vec<PageTurn> = turns.collect();
        assert_eq!(turns.iter().position(|turn| *turn == PageTurn::Restless), Some(turns.len() - 1));
        // The same page again and again, with a row that nobody can know again, and without a total.
        let mut pager = Pager::new(true);
        assert_eq!(pager.after(Held { unreadable: 1, ..held(30, 29) }), PageTurn::Read(2));
        assert_eq!(pager.after(Held { unreadable: 1, ..held(30, 0) }), PageTurn::End);
        let mut pager = Pager::new(true);
        let unreadable = || Held { unreadable: 30, ..held(30, 0) };
        let reads =
            (0..2 * STALE_PAGES).take_while(|_| pager.after(unreadable()) != PageTurn::Restless).count();
        assert_eq!(reads as u64, STALE_PAGES);
    }

    #[test]
    fn ids_of_each_type_have_a_family_unless_the_user_names_one() {
        let given = Family::named("v7/voice").unwrap();
        for (assets, want) in AssetType::ALL.into_iter().zip([
            "enterprise/video",
            "enterprise/images",
            "enterprise/voice",
            "enterprise/3d",
        ]) {
            assert_eq!(assets.family(None).unwrap().name(), want);
            assert_eq!(assets.family(Some(&given)).unwrap(), given);
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
        let other = "https://n.test/1.mp4";
        let d = "https://cdn.test/x/a.mp4";
        let table: [(&[&str], &[&str], &[&str]); 11] = [
            (&[a, b], &[c, d], &[d, c]),
            (&[a, b], &[c, other], &["", c]),
            (&[b, b], &["https://cdn.test/1/b.mp4", c], &["https://cdn.test/1/b.mp4", c]),
            (&[a, b], &[d, "https://cdn.test/2/a.mp4"], &[d, ""]),
            (&[a, b], &[a, b], &["", ""]),
            (&[a, b], &[other, c], &[other, c]),
            (&[a, b], &["", c], &["", c]),
            (&[a, b], &[c], &["", c]),
            (&[a, b], &[other], &["", ""]),
            (&[b, b, a], &[c], &["", "", ""]),
            (&[], &[c], &[]),
        ];
        let links = |texts: &[&str]| texts.iter().map(|text| link(text)).collect::<Vec<_>>();
        for (outputs, listed, want) in table {
            let outputs = links(outputs);
            let outputs: Vec<Vec<&Url>> = outputs.iter().map(|link| link.iter().collect()).collect();
            assert_eq!(pair(&outputs, &links(listed)), links(want), "{listed:?}");
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
                let rows = rows.len() as u64;
                let held = Held { rows, unseen, unreadable: 0, vouched: false, total, last_page };
                if pager.after(held) == PageTurn::End {
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
