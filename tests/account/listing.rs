//! An account whose listing can change between any two requests.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Content, Seen, Server, World, job_path};

pub(crate) const FIRST_PATH: &str = "/api/assets_generated";
pub(crate) const SECOND_PATH: &str = "/api/v6/assets_generated";

type Change = Box<dyn FnOnce(&mut Vec<Row>) + Send>;

/// A listed job.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    kind: &'static str,
    id: String,
    output: Vec<String>,
}

pub(crate) fn row(kind: &'static str, id: &str, output: &[String]) -> Row {
    Row { kind, id: id.into(), output: output.to_vec() }
}

/// What an account lists, newest first.
#[derive(Clone, Default)]
pub(crate) struct Account {
    rows: Arc<Mutex<Vec<Row>>>,
    changes: Arc<Mutex<Vec<Change>>>,
}

impl Account {
    /// An account whose listing is at the first documented path.
    pub(crate) fn of(world: &World) -> Self {
        Self::at(world, FIRST_PATH)
    }

    pub(crate) fn at(world: &World, path: &str) -> Self {
        let account = Self::default();
        world.api.on(path, account.answer());
        account
    }

    pub(crate) fn answer(&self) -> Answer {
        let account = self.clone();
        Answer::decide(move |seen| account.page(seen))
    }

    /// A job that is done now and listed first.
    pub(crate) fn add(&self, row: Row) {
        self.rows.lock().unwrap().insert(0, row);
    }

    /// What happens right after each of the next requests.
    pub(crate) fn then(&self, change: impl FnOnce(&mut Vec<Row>) + Send + 'static) {
        self.changes.lock().unwrap().insert(0, Box::new(change));
    }

    pub(crate) fn page(&self, seen: &Seen) -> Answer {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap();
        let number = |name: &str| usize::try_from(asked[name].as_u64().unwrap()).unwrap();
        let (page, per_page) = (number("page"), number("per_page"));
        let mut rows = self.rows.lock().unwrap();
        let all: Vec<&Row> = rows.iter().filter(|row| asked["type"] == row.kind).collect();
        let shown = all.iter().skip((page - 1) * per_page).take(per_page);
        let data: Vec<Value> = shown.map(|row| json!({"id": row.id, "output": row.output})).collect();
        let answer = Answer::json(&json!({"status": "success", "type": asked["type"], "data": data,
            "pagination": {"current_page": page, "per_page": per_page.to_string(), "total": all.len(),
                "last_page": all.len().div_ceil(per_page).max(1)}}));
        if let Some(change) = self.changes.lock().unwrap().pop() {
            change(&mut rows);
        }
        answer
    }
}

/// A video of the default family that is done, listed, and served.
pub(crate) fn ready(world: &World, account: &Account, id: &str) -> Content {
    let clip = world.content(Content::mp4(id.parse().unwrap(), 2_000));
    let url = world.media.on(&format!("/{id}.mp4"), Answer::file(&clip));
    world.job(id, Answer::success(std::slice::from_ref(&url)));
    account.add(row("video", id, &[url]));
    clip
}

/// The pages of videos that were asked for.
pub(crate) fn pages(server: &Server) -> Vec<u64> {
    let page = |seen: &Seen| {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap();
        (asked["type"] == "video").then(|| asked["page"].as_u64().unwrap())
    };
    server.calls(FIRST_PATH).iter().filter_map(page).collect()
}

/// How often the API was asked for a job.
pub(crate) fn asked(world: &World, id: &str) -> usize {
    world.api.calls(&job_path(id)).len()
}

/// Waits until something holds that no server sees.
pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}
