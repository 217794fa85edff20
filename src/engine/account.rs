//! An account's listing, read page by page as [`crate::listing`] decides, with the patience that the API deserves.

use std::collections::HashSet;

use tokio_util::sync::CancellationToken;

use crate::listing::{AssetType, Held, Page, PageTurn, Pager, Row, SeenRows};
use crate::net::Api;
use crate::retry::{BACKOFF_FLOOR, Cause, Class, Failure, backoff};

/// The rows of one type of asset, newest first, each of them once.
pub struct Walk<'a> {
    api: &'a Api,
    assets: AssetType,
    retries: u32,
    stop: CancellationToken,
    pager: Pager,
    next: PageTurn,
    furthest: u64,
    seen: SeenRows,
    vouched: HashSet<String>,
    newest: Option<Vec<String>>,
    counts: Counts,
}

/// What a walk has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pages that were read.
    pub pages: u64,
    /// Jobs that are listed.
    pub jobs: u64,
    /// Rows without an id that can be one.
    pub unreadable: u64,
}

impl Counts {
    /// Adds what another walk has seen.
    pub fn add(&mut self, other: Self) {
        self.pages += other.pages;
        self.jobs += other.jobs;
        self.unreadable += other.unreadable;
    }
}

impl<'a> Walk<'a> {
    /// Begins at the newest row. What may pass is tried again so often in a row; `stop` ends the walk between two
    /// questions.
    #[must_use]
    pub fn new(api: &'a Api, assets: AssetType, retries: u32, stop: CancellationToken) -> Self {
        Self {
            api,
            assets,
            retries,
            stop,
            pager: Pager::new(false),
            next: PageTurn::Read(1),
            furthest: 0,
            seen: SeenRows::default(),
            vouched: HashSet::new(),
            newest: None,
            counts: Counts::default(),
        }
    }

    /// Ends the walk at the page that holds one of these ids: what is older is known.
    #[must_use]
    pub fn until(mut self, vouched: impl IntoIterator<Item = String>) -> Self {
        self.vouched = vouched.into_iter().collect();
        self
    }

    /// The rows of the next page that were not given before; `None` at the end, or when the walk is stopped.
    ///
    /// # Errors
    /// What the API refuses, and what did not pass.
    pub async fn page(&mut self) -> Result<Option<Vec<Row>>, Failure> {
        let PageTurn::Read(number) = self.next else { return Ok(None) };
        let stop = self.stop.clone();
        if number <= self.furthest {
            // The same question is not asked again at once.
            tokio::time::sleep(BACKOFF_FLOOR).await;
        }
        self.furthest = self.furthest.max(number);
        let page = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            page = self.read(number) => page?,
        };
        let rows = page.rows.len() + page.unreadable;
        let vouched = page.rows.iter().any(|row| self.vouched.contains(row.id.as_str()));
        self.newest.get_or_insert_with(|| page.rows.iter().map(|row| row.id.as_str().to_owned()).collect());
        let unseen: Vec<Row> = page.rows.into_iter().filter(|row| self.seen.note(&row.id)).collect();
        self.counts.pages += 1;
        self.counts.jobs += unseen.len() as u64;
        self.counts.unreadable += page.unreadable as u64;
        self.next = self.pager.after(Held {
            rows: rows as u64,
            unseen: unseen.len() as u64,
            unreadable: page.unreadable as u64,
            vouched,
            total: page.total,
            last_page: page.last_page,
        });
        if self.next == PageTurn::Restless {
            return Err(Failure::new(Cause::Malformed, "too many of its pages in a row hold nothing new"));
        }
        Ok(Some(unseen))
    }

    async fn read(&self, number: u64) -> Result<Page, Failure> {
        let mut failures = 0;
        loop {
            let failure = match self.api.list(self.assets, number, super::unix_seconds()).await {
                Ok(page) => return Ok(page),
                Err(failure) => failure,
            };
            failures += 1;
            if failure.class() != Class::Transient || failures > self.retries {
                return Err(failure);
            }
            tokio::time::sleep(backoff(failures, failure.retry_after, super::dice())).await;
        }
    }

    /// Whether the listing was read to its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.next == PageTurn::End
    }

    /// What was seen so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The ids of the first page, as it was when the walk began: whatever is older was listed after it.
    #[must_use]
    pub fn newest(&self) -> &[String] {
        self.newest.as_deref().unwrap_or_default()
    }
}
