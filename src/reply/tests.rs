//! Every shape of answer, one file each, and what must be read in it.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and reads its fixtures"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

mod decisions;
mod properties;

const NOW: u64 = 1_900_000_000;

fn head(status: u16) -> Head<'static> {
    Head { status, now_unix_s: NOW, ..Head::default() }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/replies")
}

/// A reply in one line, with the fixtures' hosts as one letter.
fn told(reply: &Result<Reply, Failure>) -> String {
    let seconds = |what, wait: &Option<Duration>| {
        wait.map_or(String::new(), |wait| format!(" {what} {}", wait.as_secs_f64()))
    };
    let line = match reply {
        Ok(Reply::Done(done)) => {
            let link = |source: &Option<Source>| match source {
                Some(Source::Url(url)) => url.to_string(),
                Some(Source::Inline(bytes)) => format!("{} bytes", bytes.len()),
                Some(Source::Unusable(text)) => format!("unusable {text:?}"),
                None => "-".into(),
            };
            let one = |output: &Output| {
                format!(" {}: {} | {}", output.index, link(&output.source), link(&output.proxy))
            };
            format!("done{}", done.outputs.iter().map(one).collect::<Vec<_>>().join(","))
        }
        Ok(Reply::Pending(pending)) => format!("{:?}{}", pending.why, seconds("eta", &pending.eta)),
        Err(failure) => {
            format!("{:?}{}: {}", failure.cause, seconds("after", &failure.retry_after), failure.detail)
        }
    };
    line.replace("https://media.example/fox/", "M/").replace("https://proxy.example/fox/", "P/")
}

/// Each fixture with what must be read in it; every one comes with status 200.
const SHAPES: &[(&str, &str)] = &[
    // Done.
    ("success.json", "done 0: M/a.mp4 | P/a.mp4, 1: M/b.mp4 | P/b.mp4"),
    ("success-id-as-string.json", "done 0: M/a.mp4 | -"),
    ("success-id-empty.json", "done 0: M/a.mp4 | -"),
    ("success-id-float.json", "done 0: M/a.mp4 | -"),
    ("success-id-huge.json", "done 0: M/a.mp4 | -"),
    ("success-id-null.json", "done 0: M/a.mp4 | -"),
    ("success-without-id.json", "done 0: M/a.mp4 | -"),
    ("success-upper-case.json", "done 0: M/a.mp4 | -"),
    ("success-with-bom-and-blanks.txt", "done 0: M/a.mp4 | -"),
    ("success-with-codes-that-say-nothing.json", "done 0: M/a.mp4 | -"),
    ("success-meta-as-text.json", "done 0: M/a.mp4 | -"),
    ("success-output-text.json", "done 0: M/a.mp4 | -"),
    ("success-output-object.json", "done 0: M/a.mp4 | P/a.mp4, 2: M/c.mp4 | P/c.mp4"),
    ("success-output-named-object.json", "done 0: M/a.mp4 | -, 1: M/b.mp4 | -"),
    ("success-output-with-gap.json", "done 0: M/a.mp4 | P/a.mp4, 1: - | P/b.mp4, 2: unusable \"\" | -"),
    ("success-same-link-twice.json", "done 0: M/a.mp4 | -, 1: M/a.mp4 | -"),
    (
        "success-double-slash-and-query.json",
        "done 0: https://media.example//fox//a.mp4?Expires=1999999999&Signature=s3cr3t | -",
    ),
    ("success-base64-url.json", "done 0: M/a.base64 | -"),
    ("success-links.json", "done 0: M/voice.wav | P/voice.wav"),
    ("success-links-with-empty-output.json", "done 0: M/voice.mp3 | -"),
    ("success-link.json", "done 0: M/model.glb | -"),
    ("success-extra-assets.json", "done 0: M/model.obj | -, 1: M/skin.png?Expires=77 | -"),
    ("success-extra-assets-of-other-forms.json", "done 0: M/a.mp4 | -, 1: M/skin.png?sig=abc | -"),
    ("success-proxy-text.json", "done 0: M/a.mp4 | P/a.mp4"),
    ("success-proxy-object.json", "done 0: M/a.mp4 | -, 1: M/b.mp4 | P/b.mp4"),
    ("success-proxy-empty.json", "done 0: M/a.mp4 | -"),
    ("success-proxy-identical.json", "done 0: M/a.mp4 | -, 1: M/b.mp4 | P/b.mp4"),
    ("success-proxy-shorter.json", "done 0: M/a.mp4 | P/a.mp4, 1: M/b.mp4 | -, 2: M/c.mp4 | -"),
    ("success-proxy-of-the-second.json", "done 0: M/a.mp4 | -, 1: M/b.mp4 | P/b.mp4"),
    // What has no namesake stands where it stands, unless a namesake has that place.
    (
        "success-proxy-without-the-first.json",
        "done 0: M/a.mp4 | P/a.mp4, 1: M/b.mp4 | P/b.mp4?sig=1, 2: M/c.mp4 | -",
    ),
    ("success-proxy-of-one-name.json", "done 0: M/1/a.mp4 | -, 1: M/2/a.mp4 | P/a.mp4, 2: M/c.mp4 | P/c.mp4"),
    ("success-proxy-longer.json", "done 0: M/a.mp4 | P/a.mp4"),
    ("success-proxy-with-gap.json", "done 0: M/a.mp4 | -, 1: M/b.mp4 | P/b.mp4"),
    ("success-proxy-only.json", "done 0: - | P/a.mp4, 1: - | P/b.mp4"),
    ("success-proxy-only-text.json", "done 0: - | P/a.mp4"),
    ("success-proxy-only-second.json", "done 1: - | P/b.mp4"),
    ("success-data-uri.json", "done 0: 34 bytes | P/a.mp4"),
    ("success-data-uri-upper-case.json", "done 0: 34 bytes | -"),
    ("success-bare-base64.json", "done 0: 34 bytes | -"),
    ("success-data-uri-broken.json", "done 0: unusable \"data:image/gif;base64,R0lG*\" | -"),
    ("success-data-uri-plain.json", "done 0: unusable \"data:text/plain,fox\" | -"),
    (
        "success-unusable-links.json",
        "done 0: unusable \"file:///etc/passwd\" | -, 1: unusable \"ftp://media.example/a.mp4\" | -, \
         2: unusable \"fox/a.mp4\" | -, 3: unusable \"//media.example/a.mp4\" | -, 4: unusable \"https://\" | -, \
         5: unusable \"javascript:0\" | -",
    ),
    (
        "success-mixed-types.json",
        "done 0: M/a.mp4 | -, 1: unusable \"\" | -, 2: unusable \"\" | -, 3: unusable \"\" | -, 4: unusable \"\" | -",
    ),
    // Done, and almost JSON.
    ("success-odd-lone-surrogates.json", "done 0: M/a.mp4 | -"),
    ("success-odd-latin-1.txt", "done 0: M/a.mp4 | -"),
    ("success-odd-control-characters.txt", "done 0: M/a.mp4 | -"),
    ("success-odd-numbers.txt", "done 0: M/a.mp4 | -"),
    // Done, but without a link yet.
    ("success-output-absent.json", "NoOutputYet"),
    ("success-output-empty.json", "NoOutputYet"),
    ("success-output-empty-text.json", "NoOutputYet"),
    ("success-output-null.json", "NoOutputYet"),
    ("success-output-number.json", "NoOutputYet"),
    ("success-output-object-empty.json", "NoOutputYet"),
    ("success-output-of-empties.json", "NoOutputYet"),
    ("success-extra-assets-alone.json", "NoOutputYet"),
    // Not done.
    ("processing.json", "Processing eta 21"),
    ("processing-output-text.json", "Processing eta 17.5"),
    ("processing-with-links.json", "Processing eta 33.333333333"),
    ("processing-eta-huge.json", "Processing eta 1000000000"),
    ("processing-eta-infinite.json", "Processing"),
    ("processing-eta-negative.json", "Processing"),
    ("processing-eta-words.json", "Processing"),
    ("queued.json", "Queued eta 960"),
    ("unknown-word.json", "Unknown(\"in_queue\") eta 8"),
    ("unknown-word-with-output.json", "Unknown(\"completed\")"),
    // The job failed.
    ("failed.json", "JobFailed: the model ran out of memory at https://gpu.example/run/7"),
    ("failed-messege.json", "JobFailed: no face was found in the picture"),
    ("failed-both-spellings.json", "JobFailed: the picture is too small"),
    ("failed-with-tip.json", "JobFailed: the seed is out of range (use one below 2^32)"),
    ("failed-without-words.json", "JobFailed: it gives no reason"),
    ("failed-message-of-other-types.json", "JobFailed: it gives no reason"),
    ("failed-with-output.json", "JobFailed: frame 12 could not be drawn"),
    ("failed-quotes-its-prompt.json", "JobFailed: cannot draw \"invalid api key, not found, rate limit\""),
    ("failed-provider-error.json", "JobFailed: the sampler diverged"),
    ("error.json", "JobFailed: the prompt was refused"),
    ("error-code-without-meaning.json", "JobFailed: the clip is too long"),
    ("error-hostile-message.json", "JobFailed: \u{1b}[31mred\u{1b}[0m \u{202e}gnp.exe\r\nsecond line\u{7}"),
    // The host failed, not the job.
    ("failed-provider-error-of-a-504.json", "ServerError: 504 Gateway Time-out"),
    ("failed-because-of-a-502.json", "ServerError: upstream answered with status code: 502"),
    ("failed-with-code-503.json", "ServerError: try another day"),
    ("error-server-words.json", "ServerError: Internal Server Error"),
    ("error-upstream-code.json", "ServerError after 4: no worker answered"),
    // The call was refused.
    ("error-not-found.json", "JobNotFound: Request not found"),
    ("error-not-found-messege.json", "JobNotFound: Request not found, please check the id."),
    ("error-not-found-code.json", "JobNotFound: no such request"),
    ("error-code-400.json", "JobNotFound: Request not found"),
    ("error-status-number.json", "JobNotFound: no"),
    ("error-invalid-key.json", "InvalidKey: Invalid API key. Get one in your dashboard."),
    ("error-invalid-key-code.json", "InvalidKey: "),
    ("error-unauthenticated-without-status.json", "InvalidKey: Unauthenticated."),
    ("error-code-integer.json", "InvalidKey: who are you"),
    ("error-code-in-a-success.json", "InvalidKey: "),
    ("error-credits.json", "NoCredits: Insufficient credits to look at this"),
    ("error-credits-code.json", "NoCredits: top up first"),
    ("error-code-float.json", "NoCredits: "),
    ("error-plan.json", "Forbidden: This feature requires a premium subscription"),
    ("error-plan-code.json", "Forbidden: choose a plan"),
    ("error-forbidden-code.json", "Forbidden: "),
    (
        "error-validation-object.json",
        "Rejected: prompt: The prompt field is required.; width: must be a number must be even",
    ),
    ("error-validation-object-without-status.json", "Rejected: request_id: is required"),
    ("error-validation-code.json", "Rejected: the id has letters"),
    ("error-code-422.json", "Rejected: the id is no number"),
    ("error-rate-limit.json", "RateLimited after 7: Rate limit exceeded"),
    ("error-rate-limit-text.json", "RateLimited after 60: Too many requests, try again in 2 minutes."),
    ("error-rate-limit-code.json", "RateLimited after 3.5: "),
    ("error-rate-limit-endless.json", "RateLimited after 60: "),
    ("error-rate-limit-negative.json", "RateLimited: "),
    ("error-try-again.json", "RateLimited after 9: Slow down! Try again in 9 seconds"),
    ("error-as-field.json", "RateLimited: Rate limit exceeded"),
    // Nothing that can be understood.
    (
        "status-absent.json",
        "Malformed: it has no status and begins with {\n  \"id\": 52110,\n  \"output\": [\n    \"https://media.example/fo",
    ),
    (
        "status-null.json",
        "Malformed: it has no status and begins with {\n  \"status\": null,\n  \"output\": [\n    \"https://media.example",
    ),
    (
        "status-true.json",
        "Malformed: it has no status and begins with {\n  \"status\": true,\n  \"output\": [\n    \"https://media.example",
    ),
    (
        "status-empty.json",
        "Malformed: it has no status and begins with {\n  \"status\": \"\",\n  \"output\": [\n    \"https://media.example/f",
    ),
    (
        "array.json",
        "Malformed: it is no JSON object: [{\"status\": \"success\", \"output\": [\"https://media.example/fox",
    ),
    ("text.json", "Malformed: it is no JSON object: \"success\""),
    ("null.json", "Malformed: it is no JSON object: null"),
    (
        "truncated.txt",
        "Malformed: it is cut short: {\"status\": \"success\", \"id\": 52120, \"output\": [\"https://media",
    ),
    ("truncated-in-a-query.txt", "Malformed: it is cut short: {\"output\": [\"https://m.example/a"),
    (
        "truncated-behind-something-odd.txt",
        "Malformed: it is cut short: {\"status\": \"success\", \"meta\": {\"prompt\": \"caf\u{fffd}\", \"scale\": Na",
    ),
    ("empty.txt", "Malformed: it is empty"),
    ("blank.txt", "Malformed: it is empty"),
    (
        "plain.txt",
        "Malformed: it is not JSON (expected value at line 1 column 1): upstream connect error or disconnect/reset before headers",
    ),
    (
        "gateway.html",
        "Malformed: it is a page, not JSON: <html>\n<head><title>502 Bad Gateway</title></head>\n<body><ce",
    ),
    (
        "warning-before-json.txt",
        "Malformed: it is a page, not JSON: <br />\n<b>Warning</b>: something in line 7<br />\n{\"status\":",
    ),
    (
        "number-too-large.txt",
        "Malformed: it is not JSON (number out of range at line 1 column 34): {\"status\": \"success\", \"eta\": 1e400, \"output\": [\"https://medi",
    ),
    (
        "two-answers.txt",
        "Malformed: it is not JSON (trailing characters at line 1 column 25): {\"status\": \"processing\"}{\"status\": \"success\"}",
    ),
];

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn done(body: &[u8]) -> Done {
    match parse(&head(200), body) {
        Ok(Reply::Done(done)) => done,
        other => panic!("not done: {}", told(&other)),
    }
}

fn pending(body: &[u8]) -> Pending {
    match parse(&head(200), body) {
        Ok(Reply::Pending(pending)) => pending,
        other => panic!("not pending: {}", told(&other)),
    }
}

fn read_json(value: &Value) -> Result<Reply, Failure> {
    parse(&head(200), value.to_string().as_bytes())
}

#[test]
fn every_shape_of_answer_is_read_as_its_row_says() {
    for (name, want) in SHAPES {
        assert_eq!(told(&parse(&head(200), &fixture(name))), *want, "{name}");
    }
    let rows: BTreeSet<String> = SHAPES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = std::fs::read_dir(folder()).unwrap();
    let files: BTreeSet<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, rows, "a file without a row, or a row without a file");
    assert_eq!(rows.len(), SHAPES.len(), "a file has two rows");
}
