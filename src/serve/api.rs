//! The API of the look-alike: fetching a job, listing the account's generations, its balance.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::scenario::{FIRST_PLAIN_ID, Form, Manner, Output, SCENARIOS, Scenario};
use super::{Place, Stage, World, hosts};
use crate::job::Defaults;

/// No request of a client is longer.
const BODY_MAX: usize = 64 * 1024;
/// Keys that are watched for at the media hosts.
const KEYS_WATCHED: usize = 16;
/// Shorter texts than this may stand in a request by accident.
const KEY_LEAST: usize = 8;
/// The listing gives no more rows than this on a page.
const ROWS_MAX: u64 = 30;
/// The listing gives so many rows unless it is asked for others.
const ROWS: u64 = 10;
/// Any origin will do to read a request's path by.
const SOME_ORIGIN: &str = "http://look.alike";

/// Answers one call.
pub(super) async fn answer(State(world): State<Arc<World>>, request: Request) -> Response {
    world.state().seen.api_calls += 1;
    if request.method() != Method::POST {
        return error(StatusCode::METHOD_NOT_ALLOWED, &json!("only POST is supported here"));
    }
    let (head, body) = request.into_parts();
    let body = to_bytes(body, BODY_MAX).await.unwrap_or_default();
    let Ok(Value::Object(asked)) = serde_json::from_slice(&body) else {
        return error(StatusCode::BAD_REQUEST, &json!({ "key": ["The key field is required."] }));
    };
    if !world.takes_key(&asked) {
        return error(StatusCode::UNAUTHORIZED, &json!("Invalid API key"));
    }
    let host = host_of(&head.headers);
    match head.uri.path() {
        "/api/wallet_balance" => {
            reply(&json!({ "status": "success", "data": { "balance": 25.5, "currency": "USD" } }))
        }
        "/api/assets_generated" | "/api/v6/assets_generated" => world.list(&asked, &host),
        path => world.fetch(path, &asked, &host),
    }
}

/// The name under which the client knows this machine; links carry it, so that they work from wherever it is.
fn host_of(headers: &HeaderMap) -> String {
    let named = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    named.map_or_else(|| "127.0.0.1".into(), |authority| authority.host().to_owned())
}

impl World {
    fn takes_key(&self, asked: &Map<String, Value>) -> bool {
        let key = asked.get("key").and_then(Value::as_str).unwrap_or_default();
        let mut state = self.state();
        if key.is_empty() {
            state.seen.without_key += 1;
        } else if key.len() >= KEY_LEAST && state.keys.len() < KEYS_WATCHED {
            state.keys.insert(key.into());
        }
        !key.is_empty()
    }

    fn fetch(&self, path: &str, asked: &Map<String, Value>, host: &str) -> Response {
        let Some((scenario, id)) = self.asked_job(path, asked) else {
            return reply_with(
                StatusCode::NOT_FOUND,
                &json!({ "status": "failed", "message": "Request not found" }),
            );
        };
        match self.ask(scenario) {
            Stage::GatewayError => hosts::page(StatusCode::GATEWAY_TIMEOUT, "504 Gateway Time-out"),
            Stage::Working => reply(&self.working(scenario, &id, path, host)),
            Stage::Failed(why) => {
                reply(&json!({ "status": "failed", "id": number_or_text(&id), "messege": why, "output": "" }))
            }
            Stage::Done { again } => reply(&self.done(scenario, &id, again, host)),
        }
    }

    /// The job that a call fetches: named by its path, or for one family by `request_id`. Another family than the
    /// job's own does not know it.
    fn asked_job(&self, path: &str, asked: &Map<String, Value>) -> Option<(&'static Scenario, String)> {
        let in_body = asked.get("request_id").and_then(|id| match id {
            Value::String(id) => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        });
        let url = match in_body {
            Some(id) if !path.contains("/fetch/") => format!("{SOME_ORIGIN}{path}/{id}"),
            _ => format!("{SOME_ORIGIN}{path}"),
        };
        let job = Defaults::new(SOME_ORIGIN, None).ok()?.parse_url(&url).ok()?;
        let scenario = self.find(job.id.as_str())?;
        (scenario.family == job.family.name()).then(|| (scenario, job.id.as_str().to_owned()))
    }

    fn working(&self, scenario: &Scenario, id: &str, path: &str, host: &str) -> Value {
        let outputs = scenario.story.outputs.iter().enumerate();
        let future: Vec<String> = outputs
            .map(|(index, output)| self.link(host, Place::Output, &hosts::future_path(id, index, output)))
            .collect();
        json!({
            "status": "processing",
            "tip": "Your request is being worked on; fetch it again after the eta.",
            "eta": scenario.story.eta.as_secs(),
            "message": "Try to fetch request after seconds estimated",
            "fetch_result": self.link_to_api(host, path),
            "id": number_or_text(id),
            "output": "",
            "future_links": future,
        })
    }

    fn link_to_api(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.ports.api)
    }

    fn done(&self, scenario: &Scenario, id: &str, again: bool, host: &str) -> Value {
        let outputs = scenario.story.outputs;
        let (links, proxies) = self.links(outputs, id, again, host);
        let (output, proxy_links) = match scenario.story.form {
            Form::Arrays | Form::Links => (json!(links), json!(proxies)),
            Form::Texts => (json!(links.first()), json!(proxies.first())),
            Form::ProxyObject => {
                let by_number: Map<String, Value> =
                    proxies.iter().enumerate().map(|(index, url)| (index.to_string(), json!(url))).collect();
                (json!(links), Value::Object(by_number))
            }
            Form::Inline => (json!(outputs.iter().map(data_uri).collect::<Vec<_>>()), json!([])),
        };
        let name = if scenario.story.form == Form::Links { "links" } else { "output" };
        json!({
            "status": "success",
            "generationTime": 11.52,
            "id": number_or_text(id),
            name: output,
            "proxy_links": proxy_links,
            "nsfw_content_detected": "",
            "meta": {
                "prompt": scenario.story.prompt,
                "negative_prompt": "",
                "model_id": "look-alike-1",
                "seed": 20_260_417,
                "W": 320,
                "H": 240,
                "temp": "no",
            },
        })
    }

    /// The links of a job's outputs, and of their proxies as far as it has some.
    fn links(&self, outputs: &[Output], id: &str, again: bool, host: &str) -> (Vec<String>, Vec<String>) {
        let link = |index: usize, output: &Output, manner: Manner, place: Place| {
            let place = if manner == Manner::DeadHost { Place::Dead } else { place };
            let mut path = hosts::path(id, index, output);
            if manner == Manner::Expires {
                path.push('?');
                path.push_str(if again { hosts::FRESH_SIGNATURE } else { hosts::EXPIRED_SIGNATURE });
            }
            self.link(host, place, &path)
        };
        let numbered = || outputs.iter().enumerate();
        let sources =
            numbered().map(|(index, output)| link(index, output, output.source, Place::Output)).collect();
        let proxies = numbered()
            .filter_map(|(index, output)| Some(link(index, output, output.proxy?, Place::Proxy)))
            .collect();
        (sources, proxies)
    }

    /// One page of what the account has generated of one type, the newest first.
    fn list(&self, asked: &Map<String, Value>, host: &str) -> Response {
        let kind = asked.get("type").and_then(Value::as_str).unwrap_or_default();
        if !["image", "video", "voice", "3d"].contains(&kind) {
            return error(StatusCode::BAD_REQUEST, &json!({ "type": ["The selected type is invalid."] }));
        }
        let number = |name, otherwise| asked.get(name).and_then(Value::as_u64).unwrap_or(otherwise).max(1);
        let (page, per_page) = (number("page", 1), number("per_page", ROWS).min(ROWS_MAX));
        let plain = if kind == "video" { self.settings.plain_jobs } else { 0 };
        let stories: Vec<_> = SCENARIOS.iter().filter(|scenario| self.is_listed(scenario, kind)).collect();
        let ids = (0..plain).rev().map(|place| (FIRST_PLAIN_ID + place).to_string());
        let ids = ids.chain(stories.iter().rev().map(|scenario| scenario.id.to_owned()));
        let total = plain + stories.len() as u64;
        let first = (page - 1).saturating_mul(per_page).min(total);
        let skipped = usize::try_from(first).unwrap_or(usize::MAX);
        let shown = usize::try_from(per_page).unwrap_or(usize::MAX);
        let rows: Vec<Value> = ids.skip(skipped).take(shown).filter_map(|id| self.row(&id, host)).collect();
        let (from, to) = (first + 1, first + rows.len() as u64);
        let bound = |place: u64| (!rows.is_empty()).then_some(place);
        reply(&json!({
            "status": "success",
            "type": kind,
            "pagination": {
                "current_page": page,
                "from": bound(from),
                "last_page": total.div_ceil(per_page).max(1),
                "per_page": per_page,
                "to": bound(to),
                "total": total,
            },
            "data": rows,
        }))
    }

    fn row(&self, id: &str, host: &str) -> Option<Value> {
        let outputs = self.find(id)?.story.outputs;
        Some(json!({ "id": number_or_text(id), "output": self.links(outputs, id, false, host).0 }))
    }

    /// Whether the listing of this type names the job: done ones alone stand there.
    fn is_listed(&self, scenario: &Scenario, kind: &str) -> bool {
        let own = match scenario.family {
            family if family.contains("video") => "video",
            family if family.contains("voice") => "voice",
            family if family.contains("3d") => "3d",
            _ => "image",
        };
        let story = &scenario.story;
        let done = story.works_for.is_zero() || self.done_for(scenario).is_some();
        own == kind && done && story.fails.is_none()
    }
}

fn data_uri(output: &Output) -> String {
    let (content_type, bytes) = (output.sample.content_type, output.sample.bytes);
    format!("data:{content_type};base64,{}", BASE64.encode(bytes))
}

/// Ids are numbers where they can be.
fn number_or_text(id: &str) -> Value {
    id.parse::<u64>().map_or_else(|_| json!(id), |number| json!(number))
}

fn error(status: StatusCode, message: &Value) -> Response {
    reply_with(status, &json!({ "status": "error", "message": message }))
}

fn reply(value: &Value) -> Response {
    reply_with(StatusCode::OK, value)
}

fn reply_with(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    response
}
