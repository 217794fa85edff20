//! What holds for any bytes and any JSON.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use super::{SHAPES, fixture, head, read_json};

/// Values of every type, many of them in the forms that links, codes and words take.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..700_u64).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[A-Za-z0-9+/]{0,40}={0,2}".prop_map(Value::from),
        "https://m[0-3]\\.example/[a-c]{0,2}(\\?q=[a-c])?".prop_map(Value::from),
        "data:image/gif;base64,[A-Za-z0-9]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "success",
            "processing",
            "queued",
            "failed",
            "error",
            "not_found",
            "429",
            "provider_error",
            "Invalid API key",
            "try again in 3 seconds",
            "Bad gateway",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-z0-3]{0,3}", inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Answers in which each known field may be anything.
fn answers() -> impl Strategy<Value = Map<String, Value>> {
    let names = vec![
        "id",
        "output",
        "links",
        "link",
        "proxy_links",
        "extra_assets",
        "code",
        "error_code",
        "message",
        "messege",
        "tip",
        "eta",
        "retry_after",
        "meta",
        "fetch_result",
        "other",
        "key",
        "error",
    ];
    let word = prop_oneof![6 => Just(json!("success")), 2 => Just(json!("failed")), 2 => values()];
    let fields = prop::collection::vec((prop::sample::select(names), values()), 0..9);
    let future = prop::collection::vec("[a-c]{1,3}", 0..3);
    (word, fields, future).prop_map(|(word, fields, future)| {
        let mut answer: Map<String, Value> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        answer.insert("status".into(), word);
        let future: Vec<String> = future.iter().map(|path| format!("https://soon.example/{path}")).collect();
        answer.insert("future_links".into(), future.into());
        answer
    })
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(status in 0..700_u16, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&head(status), &body);
    }

    #[test]
    fn no_cut_answer_makes_the_parser_panic(row in 0..SHAPES.len(), end in 0..600_usize, flip in 0..600_usize, byte in any::<u8>()) {
        let mut body = fixture(SHAPES[row].0);
        body.truncate(end);
        if let Some(place) = body.get_mut(flip) {
            *place = byte;
        }
        let _ = parse(&head(200), &body);
    }

    #[test]
    fn what_is_json_is_read_as_it_is(answer in answers()) {
        let value = Value::Object(answer);
        for text in [value.to_string(), format!("{value:#}")] {
            prop_assert_eq!(repair::repaired(text.as_bytes()), None, "{}", text);
        }
    }

    #[test]
    fn an_odd_field_costs_no_answer(answer in answers(), odd in 0..5_usize) {
        let odd = [b"\"\\ud83e\"".as_slice(), b"\"caf\xe9\"", b"\"a\nb\"", b"NaN", b"[-Infinity]"][odd];
        let plain = Value::Object(answer).to_string();
        let body = [b"{\"odd\":", odd, b",", &plain.as_bytes()[1..]].concat();
        let kind = |reply: Result<Reply, Failure>| match reply {
            Ok(Reply::Done(done)) => format!("{:?}", done.outputs),
            Ok(Reply::Pending(pending)) => format!("{pending:?}"),
            Err(failure) if failure.cause == Cause::Malformed => "malformed".into(),
            Err(failure) => format!("{failure:?}"),
        };
        prop_assert_eq!(kind(parse(&head(200), &body)), kind(parse(&head(200), plain.as_bytes())));
    }

    #[test]
    fn what_is_done_has_a_source_for_each_output_and_nothing_from_the_future(answer in answers()) {
        let read = read_json(&Value::Object(answer.clone()));
        if let Ok(Reply::Done(done)) = &read {
            prop_assert!(words::status(&answer).is_some_and(|word| word == "success"));
            prop_assert!(!done.outputs.is_empty());
            let mut places = BTreeSet::new();
            for output in &done.outputs {
                prop_assert!(output.source.is_some() || output.proxy.is_some());
                prop_assert!(output.source != output.proxy);
                prop_assert!(places.insert(output.index));
            }
            let kept = format!("{done:?}");
            prop_assert!(!kept.contains("soon.example"), "{}", kept);
            let record = serde_json::to_string(&(&done.meta, &done.rest)).unwrap();
            prop_assert!(!record.contains(".example/?") && !record.contains("?q="), "{}", record);
        }
        if let Err(failure) = &read {
            prop_assert!(failure.cause != Cause::Redirected);
            prop_assert!(failure.retry_after.is_none() || failure.class() == crate::retry::Class::Transient);
        }
    }

    #[test]
    fn a_job_never_failed_because_of_a_host(answer in answers(), status in 500..600_u16) {
        let failure = parse(&head(status), Value::Object(answer.clone()).to_string().as_bytes()).unwrap_err();
        prop_assert_eq!(failure.cause, Cause::ServerError);
        let mut said = answer;
        said.insert("code".into(), status.into());
        prop_assert_eq!(read_json(&Value::Object(said)).unwrap_err().cause, Cause::ServerError);
    }
}
