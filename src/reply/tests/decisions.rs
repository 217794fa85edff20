//! The tables of the parser, row by row, and its bounds.

use serde_json::json;

use super::super::*;
use super::{done, fixture, head, pending, read_json, told};

#[test]
fn the_http_status_decides_before_anything_in_the_body() {
    let gateway = fixture("gateway.html");
    let success = fixture("success.json");
    let provider = fixture("failed-provider-error.json");
    let table: [(u16, &[u8], &str); 25] = [
        (301, &success, "Redirected: status 301"),
        (308, b"", "Redirected: status 308"),
        (400, b"", "Rejected: status 400"),
        (400, b"{\"message\":{\"prompt\":[\"is too long\"]}}", "Rejected: prompt: is too long"),
        (400, b"{\"message\":\"Invalid API key\"}", "InvalidKey: Invalid API key"),
        (422, b"{\"code\":\"not_found\"}", "JobNotFound: status 422"),
        (422, b"{\"code\":\"provider_error\"}", "JobFailed: status 422"),
        (418, &success, "Rejected: status 418"),
        (401, &gateway, "InvalidKey: status 401"),
        (402, b"{\"message\":\"Insufficient credits\"}", "NoCredits: Insufficient credits"),
        (403, b"{\"code\":\"rate_limited\",\"message\":\"no\"}", "Forbidden: no"),
        (404, &success, "JobNotFound: status 404"),
        (410, b"", "JobNotFound: status 410"),
        (408, b"", "ServerError: status 408"),
        (425, b"", "ServerError: status 425"),
        (429, b"{\"retry_after\":2}", "RateLimited after 2: status 429"),
        (500, &success, "ServerError: status 500"),
        (502, &gateway, "ServerError: status 502"),
        (503, &provider, "ServerError: the sampler diverged"),
        (520, b"", "ServerError: status 520"),
        (599, b"", "ServerError: status 599"),
        (201, &success, "done 0: M/a.mp4 | P/a.mp4, 1: M/b.mp4 | P/b.mp4"),
        (204, b"", "Malformed: it is empty"),
        (101, &success, "Malformed: status 101"),
        (600, &success, "Malformed: status 600"),
    ];
    for (status, body, want) in table {
        assert_eq!(told(&parse(&head(status), body)), want, "{status}");
    }
}

#[test]
fn a_number_in_the_body_means_what_it_means_as_a_status() {
    let table = [
        (399, "JobFailed: x"),
        (400, "Rejected: x"),
        (401, "InvalidKey: x"),
        (402, "NoCredits: x"),
        (403, "Forbidden: x"),
        (404, "JobNotFound: x"),
        (408, "ServerError: x"),
        (410, "JobNotFound: x"),
        (425, "ServerError: x"),
        (429, "RateLimited: x"),
        (499, "Rejected: x"),
        (500, "ServerError: x"),
        (599, "ServerError: x"),
        (600, "JobFailed: x"),
    ];
    for (number, want) in table {
        for code in [json!(number), json!(f64::from(number)), json!(number.to_string())] {
            for field in ["code", "error_code"] {
                let answer = json!({"status": "failed", field: code, "message": "x"});
                assert_eq!(told(&read_json(&answer)), want, "{field} {code}");
            }
        }
    }
    let half = json!({"status": "failed", "code": 401.5, "error_code": -401, "message": "x"});
    assert_eq!(told(&read_json(&half)), "JobFailed: x");
    let first = json!({"status": "success", "code": 429, "error_code": 401});
    assert_eq!(told(&read_json(&first)), "RateLimited: ", "`code` comes before `error_code`");
    let no_word = json!({"status": 200, "output": ["https://media.example/fox/a.mp4"]});
    assert!(matches!(read_json(&no_word), Err(Failure { cause: Cause::Malformed, .. })));
}

#[test]
fn a_text_is_known_by_its_beginning_and_a_hosts_trouble_anywhere() {
    let table = [
        ("Invalid API_key", Cause::InvalidKey),
        ("API key is invalid", Cause::InvalidKey),
        ("Unauthorized", Cause::InvalidKey),
        ("Insufficient balance", Cause::NoCredits),
        ("Insufficient funds", Cause::NoCredits),
        ("Not enough credits left", Cause::NoCredits),
        ("No subscription", Cause::Forbidden),
        ("No active subscription", Cause::Forbidden),
        ("Forbidden", Cause::Forbidden),
        ("Job not found", Cause::JobNotFound),
        ("Not found", Cause::JobNotFound),
        ("Model not found", Cause::JobFailed),
        ("502 Bad gateway", Cause::ServerError),
        ("got: service unavailable", Cause::ServerError),
        ("Service temporarily unavailable", Cause::ServerError),
        ("Gateway timeout", Cause::ServerError),
        ("Upstream unavailable", Cause::ServerError),
        ("The server is busy", Cause::ServerError),
        ("Server busy", Cause::ServerError),
        ("Server Error", Cause::ServerError),
        ("the sampler met a server error", Cause::JobFailed),
        ("HTTP 524", Cause::ServerError),
        ("HTTP 528", Cause::JobFailed),
        ("error=500", Cause::ServerError),
        ("code 505", Cause::JobFailed),
        ("504", Cause::ServerError),
        ("504 frames were asked for", Cause::ServerError),
        ("the clip has 504 frames", Cause::JobFailed),
        ("status 5000", Cause::JobFailed),
        ("try again", Cause::JobFailed),
        ("please retry after 1 hour", Cause::RateLimited),
    ];
    for (text, want) in table {
        let failure = read_json(&json!({"status": "failed", "message": text})).unwrap_err();
        assert_eq!((failure.cause, failure.detail.as_str()), (want, text));
    }
}

#[test]
fn a_failed_jobs_words_about_its_inputs_are_not_about_the_call() {
    let table = [
        // The text, and what it means without an id, with one, and without a status.
        ("Unauthorized image source: init_image", "JobFailed", "JobFailed", "InvalidKey"),
        ("Forbidden: init_video answered 403", "JobFailed", "JobFailed", "Forbidden"),
        ("Not found: init_image", "JobFailed", "JobFailed", "JobNotFound"),
        ("Server error while reading init_image", "JobFailed", "JobFailed", "ServerError"),
        ("Unauthorized", "InvalidKey", "JobFailed", "InvalidKey"),
        ("Unauthenticated.", "InvalidKey", "JobFailed", "InvalidKey"),
        ("FORBIDDEN!", "Forbidden", "JobFailed", "Forbidden"),
        ("Not found.", "JobNotFound", "JobFailed", "JobNotFound"),
        ("Invalid API key", "InvalidKey", "InvalidKey", "InvalidKey"),
        ("Insufficient credits, top up", "NoCredits", "NoCredits", "NoCredits"),
        ("This feature requires a plan", "Forbidden", "Forbidden", "Forbidden"),
        ("Request not found", "JobNotFound", "JobNotFound", "JobNotFound"),
        ("Rate limit exceeded", "RateLimited", "RateLimited", "RateLimited"),
        ("No face, try again in 5 minutes", "RateLimited", "JobFailed", "RateLimited"),
        (
            "500 Server Error: Internal Server Error for url: https://customer.example/in.png",
            "ServerError",
            "JobFailed",
            "ServerError",
        ),
        ("502 Bad Gateway", "ServerError", "ServerError", "ServerError"),
    ];
    for (text, without_id, with_id, without_status) in table {
        let cause = |answer: &Value| format!("{:?}", read_json(answer).unwrap_err().cause);
        for status in ["failed", "error"] {
            assert_eq!(cause(&json!({"status": status, "message": text})), without_id, "{text}");
            assert_eq!(cause(&json!({"status": status, "id": "", "message": text})), without_id, "{text}");
            for id in [json!(5), json!("5")] {
                assert_eq!(cause(&json!({"status": status, "id": id, "message": text})), with_id, "{text}");
            }
        }
        assert_eq!(cause(&json!({"message": text})), without_status, "{text}");
    }
    let input = "500 Server Error: Internal Server Error for url: https://customer.example/in.png";
    let provider = json!({"status": "failed", "id": 5, "code": "provider_error", "message": input});
    assert_eq!(read_json(&provider).unwrap_err().cause, Cause::JobFailed);
}

#[test]
fn the_service_is_left_alone_for_as_long_as_it_asks() {
    let waits = |head: Head<'_>, body: &Value| {
        let failure = parse(&head, body.to_string().as_bytes()).unwrap_err();
        failure.retry_after.map(|wait| wait.as_secs_f64())
    };
    let all = Head { retry_after: Some("5"), rate_limit_reset: Some("1900000008"), ..head(429) };
    let told = json!({"retry_after": 6, "message": "try again in 7 seconds"});
    let only_text = json!({"message": "try again in 7 seconds"});
    let no_header = Head { retry_after: None, ..all };
    let reset = |rate_limit_reset| waits(Head { rate_limit_reset, ..head(429) }, &json!({}));
    assert_eq!(waits(all, &told), Some(5.0), "the header first");
    assert_eq!(waits(Head { retry_after: Some("soon"), ..all }, &told), Some(6.0), "garbage is absent");
    assert_eq!(waits(no_header, &told), Some(6.0), "then the body's field");
    assert_eq!(waits(no_header, &only_text), Some(7.0), "then the text");
    assert_eq!(waits(no_header, &json!({})), Some(8.0), "then the moment of the reset");
    assert_eq!(reset(Some(" 1900000001 ")), Some(1.0));
    assert_eq!(reset(Some("1900000000")), None, "it is over");
    assert_eq!(reset(Some("1800000000")), None);
    assert_eq!(reset(Some("x")), None);
    assert_eq!(reset(Some("99999999999")), Some(60.0), "never beyond the cap");
    assert_eq!(waits(Head { status: 503, ..all }, &told), Some(5.0));
    assert_eq!(
        waits(Head { status: 503, ..no_header }, &json!({})),
        None,
        "a limit's reset says nothing of a 503"
    );
    assert_eq!(waits(Head { status: 401, ..all }, &told), None, "waiting makes no key valid");
}

#[test]
fn waits_in_a_text_have_units() {
    let table = [
        ("try again in 30 seconds", Some(30.0)),
        ("Please try again in 1 second.", Some(1.0)),
        ("try again in 9s", Some(9.0)),
        ("try again in 9", Some(9.0)),
        ("try again in 9.", Some(9.0)),
        ("try again in about 5 seconds", Some(5.0)),
        ("try again after 0.5 minutes", Some(30.0)),
        ("retry in 1-minute", Some(60.0)),
        ("retry after 2 hours", Some(60.0)),
        ("retry in 1500 ms", Some(1.5)),
        ("retry in 500 milliseconds", Some(0.5)),
        ("try again in 99999999999999999999999 hours", Some(60.0)),
        ("try again in a minute", None),
        ("try again in -5 seconds", None),
        ("try again in 1.2.3 seconds", None),
        ("try again in ", None),
        ("try again", None),
    ];
    for (text, want) in table {
        let failure =
            read_json(&json!({"status": "error", "code": "rate_limited", "messege": text})).unwrap_err();
        assert_eq!(failure.retry_after.map(|wait| wait.as_secs_f64()), want, "{text}");
    }
}

#[test]
fn an_encoding_that_was_not_asked_for_is_refused() {
    let body = fixture("success.json");
    let encoded = |content_encoding| told(&parse(&Head { content_encoding, ..head(200) }, &body));
    assert!(encoded(Some("gzip")).starts_with("Malformed: it is encoded (gzip)"));
    assert!(encoded(Some("identity, br")).starts_with("Malformed"));
    assert!(encoded(Some(" Identity ")).starts_with("done"));
    for meaningless in ["", "utf-8", "aws-chunked", "identity, none"] {
        assert!(encoded(Some(meaningless)).starts_with("done"), "{meaningless}");
    }
    assert!(encoded(Some("aws-chunked, gzip")).starts_with("Malformed: it is encoded (gzip)"));
    let refused = parse(&Head { content_encoding: Some("gzip"), ..head(401) }, &body);
    assert_eq!(told(&refused), "InvalidKey: status 401", "the status needs no body");
    let gzip = parse(&head(200), b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xe6");
    assert!(told(&gzip).starts_with("Malformed: it is not JSON"));
}

#[test]
fn hostile_bodies_end_as_malformed_and_cost_little() {
    let malformed = |body: &[u8]| {
        let failure = parse(&head(200), body).unwrap_err();
        assert_eq!(failure.cause, Cause::Malformed);
        assert!(failure.detail.chars().count() < 200, "{}", failure.detail);
    };
    malformed("[".repeat(200_000).as_bytes());
    malformed(format!("{{\"status\":\"success\",\"output\":{}", "[".repeat(200_000)).as_bytes());
    malformed(format!("{}1{}", "{\"a\":".repeat(200_000), "}".repeat(200_000)).as_bytes());
    malformed(format!("{{\"eta\":{}}}", "9".repeat(200_000)).as_bytes());
    malformed(&[0xff; 4096]);
    malformed(&vec![0; 1 << 20]);
    let commas = |count| format!("{{\"status\":\"queued\",\"other\":[0{}]}}", ",0".repeat(count - 1));
    malformed(commas(COMMAS_MAX + 1).as_bytes());
    assert_eq!(pending(commas(COMMAS_MAX).as_bytes()).why, PendingWhy::Queued);
    let link = "https://media.example/fox/a.mp4";
    let list = |count| json!({"status": "success", "output": vec![link; count]});
    let places = |count| {
        let fields: Map<String, Value> = (0..count).map(|place| (place.to_string(), json!(link))).collect();
        json!({"status": "success", "output": fields})
    };
    for most in [list(OUTPUTS_MAX), places(OUTPUTS_MAX)] {
        let Ok(Reply::Done(done)) = read_json(&most) else { panic!("so many are taken") };
        assert_eq!(done.outputs.len(), OUTPUTS_MAX);
    }
    malformed(list(OUTPUTS_MAX + 1).to_string().as_bytes());
    malformed(places(OUTPUTS_MAX + 1).to_string().as_bytes());
}

#[test]
fn an_answers_id_is_opaque_and_none_where_it_is_empty() {
    let table = [
        ("success.json", Some("52017")),
        ("success-id-as-string.json", Some("52018-b")),
        ("success-id-float.json", Some("52019")),
        ("success-id-empty.json", None),
        ("success-id-null.json", None),
        ("success-id-huge.json", None),
        ("success-without-id.json", None),
    ];
    for (name, want) in table {
        assert_eq!(done(&fixture(name)).answered_id.as_deref(), want, "{name}");
    }
    let id = |id: Value| pending(json!({"status": "queued", "id": id}).to_string().as_bytes()).answered_id;
    assert_eq!(id(json!(-7)), Some("-7".into()));
    assert_eq!(id(json!(0.5)), None);
    assert_eq!(id(json!(" a ")), Some("a".into()));
    assert_eq!(id(json!([1])), None);
    assert_eq!(id(json!("x".repeat(80))), Some("x".repeat(80)));
    assert_eq!(id(json!("x".repeat(81))), Some(format!("{}…", "x".repeat(80))), "it is only shown");
}

#[test]
fn a_tip_that_repeats_the_message_is_said_once() {
    let said = |tip: &str| {
        let answer = json!({"status": "failed", "message": "no such model", "tip": tip});
        read_json(&answer).unwrap_err().detail
    };
    assert_eq!(said("no such model"), "no such model");
    assert_eq!(said("choose another"), "no such model (choose another)");
}

#[test]
fn parameters_are_an_object_and_what_else_stands_there_is_kept_as_it_is() {
    let split = |meta: Value| {
        let link = "https://media.example/fox/a.mp4";
        let answer = json!({"status": "success", "output": [link], "meta": meta});
        let done = done(answer.to_string().as_bytes());
        (done.meta, done.rest.get("meta").cloned())
    };
    let fields = json!({"seed": 7});
    assert_eq!(split(fields.clone()), (fields.as_object().cloned(), None));
    assert_eq!(split(json!([])), (None, None));
    assert_eq!(split(json!([1])), (None, Some(json!([1]))));
    assert_eq!(split(json!("none")), (None, Some(json!("none"))));
    assert_eq!(split(Value::Null), (None, None));
}

#[test]
fn a_pending_answer_says_what_it_knows() {
    let want = Pending {
        why: PendingWhy::Processing,
        eta: Some(Duration::from_secs(21)),
        fetch_url: Some("https://api.example/api/v6/video/fetch/52071".into()),
        message: Some("Try Again".into()),
        answered_id: Some("52070".into()),
    };
    assert_eq!(pending(&fixture("processing.json")), want);
    let empty = pending(&fixture("success-output-empty.json"));
    assert_eq!((empty.eta, empty.message.as_deref()), (None, Some("it is being copied")));
    let long = json!({"status": "x".repeat(100), "eta": "0"}).to_string();
    let long = pending(long.as_bytes());
    assert_eq!(
        (long.why, long.eta),
        (PendingWhy::Unknown(format!("{}…", "x".repeat(40))), Some(Duration::ZERO))
    );
}

#[test]
fn a_record_gets_the_parameters_and_the_rest_without_links_and_secrets() {
    let read = done(&fixture("success.json"));
    let meta = json!({
        "prompt": "a fox crosses a frozen river", "negative_prompt": "text, watermark", "seed": 90125,
        "model_id": "lanternfish", "W": 768, "H": 432, "fps": 16, "temp": "no", "base64": false,
        "init_image": "https://inputs.example/fox.png"
    });
    assert_eq!(Some(Value::Object(read.meta.unwrap())), Some(meta));
    let rest = json!({"generationTime": 41.25, "nsfw_content_detected": null, "eta": 12});
    assert_eq!(Value::Object(read.rest), rest);
    assert_eq!(done(&fixture("success-without-id.json")).meta, None);
    let text = done(&fixture("success-meta-as-text.json"));
    assert_eq!((text.meta, Value::Object(text.rest)), (None, json!({"meta": "seed=7"})));
    let extra = done(&fixture("success-extra-assets.json"));
    assert_eq!(Value::Object(extra.rest), json!({}));
    let extra = done(&fixture("success-extra-assets-of-other-forms.json"));
    let kept = json!({"extra_assets": [{"name": "skin"}, "https://media.example/fox/skin.png"]});
    assert_eq!(Value::Object(extra.rest), kept);
    let long = json!({
        "status": "success", "output": "https://media.example/fox/a.mp4", "API_key": "x", "note": "é".repeat(20_000),
        "deep": [{"https://u:p@x.test/?q": "see https://u:p@x.test/a?sig=1#f, or s3://b/k?v"}]
    });
    let long = done(long.to_string().as_bytes()).rest;
    assert_eq!(long["note"].as_str().unwrap().chars().count(), 16 * 1024 + 1);
    assert_eq!(long["deep"], json!([{"https://x.test/": "see https://x.test/a or s3://b/k"}]));
    assert_eq!(long.len(), 2);
}

#[test]
fn a_text_keeps_its_urls_without_what_may_be_secret() {
    let table = [
        ("no url: a/b?c#d @e", "no url: a/b?c#d @e"),
        ("https://x.test", "https://x.test"),
        ("https://u:p@x.test/a@b?c=d", "https://x.test/a@b"),
        ("https://a@b@x.test", "https://x.test"),
        ("https://u@x.test\\@y?z", "https://x.test\\@y"),
        ("<a href=\"https://x.test/a?b\">c?d</a>", "<a href=\"https://x.test/a\">c?d</a>"),
        ("https://x.test/a?u=https://y.test/b?c d", "https://x.test/a d"),
        ("https://x.test#f\nhttp://y.test?z `ftp://u@z`", "https://x.test\nhttp://y.test `ftp://z`"),
        ("://", "://"),
    ];
    for (text, want) in table {
        assert_eq!(record::without_secrets_in(text), want);
    }
}

#[test]
fn bytes_in_an_answer_are_told_from_paths_and_bounded() {
    let gif = b"GIF89a-small";
    let coded = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let first = |text: String| {
        let outputs = outputs(json!({ "output": text }).as_object().unwrap());
        outputs.into_iter().next().unwrap().source.unwrap()
    };
    assert_eq!(first(coded(gif)), Source::Inline(gif.to_vec()));
    assert_eq!(first(coded(&[7; 189])), Source::Unusable(format!("{}…", &coded(&[7; 189])[..100])));
    assert_eq!(first(coded(&[7; 192])), Source::Inline(vec![7; 192]), "long enough to be no path");
    assert_eq!(first("fox/clip".into()), Source::Unusable("fox/clip".into()));
    assert_eq!(first(format!("data:;base64,{}", coded(&[7; 3]))), Source::Inline(vec![7; 3]));
    for either_alphabet in ["+/+/", "-_-_"] {
        let bytes = Source::Inline(vec![0xfb, 0xff, 0xbf]);
        assert_eq!(first(format!("data:;base64,{either_alphabet}")), bytes);
    }
    assert!(matches!(first("data:image/gif;base64,".into()), Source::Unusable(_)), "no bytes are no file");
    let largest = 4 * 1024 * 1024;
    let uri = |bytes: usize| format!("data:video/mp4;base64,{}", coded(&vec![7; bytes]));
    assert!(matches!(first(uri(largest)), Source::Inline(bytes) if bytes.len() == largest));
    assert!(matches!(first(uri(largest + 3)), Source::Unusable(text) if text.len() < 500));
    let url = |length: usize| format!("https://media.example/{}", "a".repeat(length - 22));
    assert!(matches!(first(url(16 * 1024)), Source::Url(_)));
    assert!(matches!(first(url(16 * 1024 + 1)), Source::Unusable(_)));
}

#[test]
fn a_list_in_a_text_is_read_once() {
    let read = |text: &str| outputs(json!({ "output": text }).as_object().unwrap());
    let (a, b) = ("https://media.example/fox/a.mp4", "https://media.example/fox/b.mp4");
    let listed = outputs(json!({ "output": [a, b] }).as_object().unwrap());
    assert_eq!(read(&json!([a, b]).to_string()), listed);
    assert_eq!(read(&format!(" \n{:#}\n", json!([a, b]))), listed);
    assert_eq!(read("[]"), []);
    assert_eq!(read("[\"\", null]"), []);
    let only = |text: &str| read(text).into_iter().map(|output| output.source.unwrap()).collect::<Vec<_>>();
    let twice = json!([json!([a]).to_string()]).to_string();
    assert_eq!(only(&twice), [Source::Unusable(json!([a]).to_string())], "a text within is none");
    for broken in ["[\"fox/a.mp4\"", "[fox]/a.mp4"] {
        assert_eq!(only(broken), [Source::Unusable(broken.into())]);
    }
}

#[test]
fn a_source_is_shown_without_what_may_be_secret() {
    let url = Url::parse("https://u:p@media.example/fox//a.mp4?sig=1#f").unwrap();
    assert_eq!(Source::Url(url).shown(), "https://media.example/fox//a.mp4");
    assert_eq!(Source::Inline(vec![1]).shown(), "");
    assert_eq!(Source::Unusable("fox".into()).shown(), "fox");
}

#[test]
fn places_in_an_object_are_numbers_that_a_list_could_have() {
    let places = |list: Value| {
        let outputs = outputs(json!({ "output": list }).as_object().unwrap());
        outputs.iter().map(|output| output.index).collect::<Vec<_>>()
    };
    let link = "https://media.example/fox/a.mp4";
    assert_eq!(places(json!({"3": link, "1": link})), [1, 3]);
    assert_eq!(places(json!({"999999": link})), [999_999]);
    assert_eq!(places(json!({"1000000": link})), [0], "no place: a name");
    assert_eq!(places(json!({"3": link, "x": link})), [0, 1], "names all of them");
    assert_eq!(places(json!({"3": link, "03": link})), [0, 1], "two names of one place");
}
