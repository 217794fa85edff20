//! What the look-alike's jobs do, as data: the demo tells it, the mock serves it, the tests expect it.
//!
//! Each [`Scenario`] is one job with one turn that real jobs take, what it shows, and how it must end. A story is told
//! once, from the moment at which its job is first asked for.

use std::time::Duration;

use super::sample::{self, Sample};
use crate::job::DEFAULT_FAMILY;
use crate::manifest::{Manifest, Rung, State};

/// One job of the look-alike.
pub struct Scenario {
    /// Its family.
    pub family: &'static str,
    /// Its id.
    pub id: &'static str,
    /// The turn that it takes, in a few words.
    pub title: &'static str,
    /// What it shows of vfetch, in a sentence.
    pub shows: &'static str,
    /// How it must end.
    pub expected: Expected,
    pub(super) story: Story,
}

/// How a job must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Complete: every file has the bytes of its sample, and came from this rung.
    Complete(Rung),
    /// Failed at the service.
    Failed,
    /// Gone: no source has the files any more.
    Gone,
}

pub(super) struct Story {
    /// So many times at first the API's gateway answers in its place, with an error page.
    pub(super) gateway_errors: u32,
    /// How long the service works on it.
    pub(super) works_for: Duration,
    /// What the service says that it will take.
    pub(super) eta: Duration,
    /// The form of its answer.
    pub(super) form: Form,
    /// The message of a job that fails; such a job has no outputs.
    pub(super) fails: Option<&'static str>,
    pub(super) outputs: &'static [Output],
    pub(super) prompt: &'static str,
}

/// One of the forms that answers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `output` and `proxy_links` are arrays.
    Arrays,
    /// Both are one URL.
    Texts,
    /// `proxy_links` is an object with numbers as keys.
    ProxyObject,
    /// `links` stands in place of `output`.
    Links,
    /// `output` holds the file itself, as a data URI.
    Inline,
}

pub(super) struct Output {
    pub(super) sample: &'static Sample,
    pub(super) source: Manner,
    pub(super) proxy: Option<Manner>,
}

/// How a host treats requests for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// As it should.
    Serves,
    /// Nobody listens there.
    DeadHost,
    /// Always this status.
    Refuses(u16),
    /// A page that says so, under status 200.
    SoftNotFound,
    /// The connection is cut after this share of the file, so many times.
    Cuts { percent: usize, times: u32 },
    /// Status 503, so many times.
    Unavailable { times: u32 },
    /// Status 429 and this many seconds in `Retry-After`, so many times.
    Throttles { retry_after_s: u32, times: u32 },
    /// Status 404 until so long after the job's success.
    Appears { after: Duration },
    /// The link of the job's first answer has expired; that of a later one holds.
    Expires,
}

const ONE_FILM: &[Output] =
    &[Output { sample: &sample::MP4, source: Manner::Serves, proxy: Some(Manner::Serves) }];

const READY: Story = Story {
    gateway_errors: 0,
    works_for: Duration::ZERO,
    eta: Duration::ZERO,
    form: Form::Arrays,
    fails: None,
    outputs: ONE_FILM,
    prompt: "a kite over a salt marsh at dawn",
};

/// All jobs with a story.
pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        family: DEFAULT_FAMILY,
        id: "147",
        title: "ready at once",
        shows: "asked once, fetched once, hashed on the way, recorded",
        expected: Expected::Complete(Rung::Output),
        story: Story {
            outputs: &[Output { sample: &sample::GIF, source: Manner::Serves, proxy: Some(Manner::Serves) }],
            ..READY
        },
    },
    Scenario {
        family: DEFAULT_FAMILY,
        id: "148",
        title: "still processing",
        shows: "polled until it is done; its future_links are left alone",
        expected: Expected::Complete(Rung::Output),
        story: Story {
            works_for: Duration::from_secs(5),
            eta: Duration::from_secs(2),
            prompt: "a lighthouse keeper folds paper boats",
            ..READY
        },
    },
    Scenario {
        family: DEFAULT_FAMILY,
        id: "149",
        title: "done before its file exists",
        shows: "after a job that was just seen working, 404 means not yet",
        expected: Expected::Complete(Rung::Output),
        story: Story {
            works_for: Duration::from_secs(2),
            eta: Duration::from_secs(2),
            outputs: &[Output {
                sample: &sample::WEBM,
                source: Manner::Appears { after: Duration::from_secs(4) },
                proxy: None,
            }],
            prompt: "frost growing on a tram window",
            ..READY
        },
    },
    Scenario {
        family: "realtime",
        id: "98",
        title: "three outputs",
        shows: "another family; one record for all files, each kind told by its bytes",
        expected: Expected::Complete(Rung::Output),
        story: Story {
            form: Form::ProxyObject,
            outputs: &[
                Output { sample: &sample::PNG, source: Manner::Serves, proxy: Some(Manner::Serves) },
                Output { sample: &sample::JPEG, source: Manner::Serves, proxy: Some(Manner::Serves) },
                Output { sample: &sample::WEBP, source: Manner::Serves, proxy: Some(Manner::Serves) },
            ],
            prompt: "three studies of a paper lantern",
            ..READY
        },
    },
    Scenario {
        family: "voice",
        id: "55",
        title: "a sound, under links",
        shows: "audio answers name their files in another field",
        expected: Expected::Complete(Rung::Output),
        story: Story {
            form: Form::Links,
            outputs: &[Output { sample: &sample::WAV, source: Manner::Serves, proxy: None }],
            prompt: "the tide turns at six",
            ..READY
        },
    },
    Scenario {
        family: "enterprise/text-to-image",
        id: "77",
        title: "a file in the answer",
        shows: "a data URI in place of a link is decoded, judged, recorded",
        expected: Expected::Complete(Rung::Inline),
        story: Story {
            form: Form::Inline,
            outputs: &[Output { sample: &sample::PNG, source: Manner::Serves, proxy: None }],
            prompt: "a copper sun behind slate hills",
            ..READY
        },
    },
    Scenario {
        family: DEFAULT_FAMILY,
        id: "201",
        title: "a dead output host",
        shows: "no connection to the host: the proxy link is taken at once",
        expected: Expected::Complete(Rung::Proxy),
        story: Story {
            form: Form::Texts,
            outputs: &[Output {
                sample: &sample::GIF,
                source: Manner::DeadHost,
                proxy: Some(Manner::Serves),
            }],
            prompt: "an empty ferry crossing in fog",
            ..READY
        },
    },
    Scenario {
        family: DEFAULT_FAMILY,
        id: "202",
        title: "404 at the output host",
        shows: "the proxy link is taken at once",
        expected: Expected::Complete(Rung::Proxy),
        story: Story {
            outputs: &[Output {
                sample: &sample::MP4,
                source: Manner::Refuses(404),
                proxy: Some(Manner::Serves),
            }],
            prompt: "a clockmaker's bench, close up",
            ..READY
        },
    },
    Scenario {
        family: DEFAULT_FAMILY,
        id: "203",
        title: "an error page with status 200",
        shows: "a page is no film, whatever its status says: the proxy link is taken",
        expected: Expected::Complete(Rung::Proxy),
        story: Story {
            outputs: &[Output {
                sample: &sample::WEBM,
                source: Manner::SoftNotFound,
                proxy: Some(Manner::Serves),
            }],
            prompt: "swallows under a railway bridge",
            ..READY
        },
    },
    Scenario {
        family: DEFAULT_FAMILY,
        id: "204",
        title: "a connection that is cut twice",
        shows: "the part is continued with Range and If-Range, never spliced",
        expected: Expected::Complete(Rung::Output),
        story: Story {
            outputs: &[Output {
                sample: &sample::MP4,
                source: Manner::Cuts { percent: 40, times: 2 },
                proxy: None,
            }],
            prompt: "a rope bridge in the wind",
            ..READY
        },
    },
    Scenario {
        family: DEFAULT_FAMILY,
        id: "205",
        title: "503, then fine",
        shows: "a host in trouble is asked again later, and for less at once",
        expected: Expected::Complete(Rung::Output),
        story: Story {
            outputs: &[Output {
                sample: &sample::WEBM,
                source: Manner::Unavailable { times: 1 },
                proxy: None,
            }],
            prompt: "ink spreading in a glass of water",
            ..READY
        },
    },
    Scenario {
        family: DEFAULT_FAMILY,
        id: "206",
        title: "429 with Retry-After",
        shows: "the whole host is left alone for as long as it asks",
        expected: Expected::Complete(Rung::Output),
        story: Story {
            outputs: &[Output {
                sample: &sample::GIF,
                source: Manner::Throttles { retry_after_s: 1, times: 1 },
                proxy: None,
            }],
            prompt: "a market square seen from a balloon",
            ..READY
        },
    },
    Scenario {
        family: DEFAULT_FAMILY,
        id: "207",
        title: "504 from the API's gateway",
        shows: "a gateway's error page does not end a paid job: it is asked for again",
        expected: Expected::Complete(Rung::Output),
        story: Story { gateway_errors: 1, prompt: "a beekeeper at dusk", ..READY },
    },
    Scenario {
        family: DEFAULT_FAMILY,
        id: "208",
        title: "a link that has expired",
        shows: "refused twice, 10 s apart: then the job is asked for a fresh link",
        expected: Expected::Complete(Rung::FreshOutput),
        story: Story {
            outputs: &[Output { sample: &sample::WEBM, source: Manner::Expires, proxy: None }],
            prompt: "a night train through birch woods",
            ..READY
        },
    },
    Scenario {
        family: DEFAULT_FAMILY,
        id: "301",
        title: "failed at the service",
        shows: "told once, recorded with the service's reason, and not polled on",
        expected: Expected::Failed,
        story: Story {
            fails: Some("the model ran out of memory"),
            outputs: &[],
            prompt: "everything everywhere in sixteen thousand lines",
            ..READY
        },
    },
    Scenario {
        family: DEFAULT_FAMILY,
        id: "302",
        title: "no file behind any link",
        shows: "every link says twice that there is no file, and fresh ones say so too",
        expected: Expected::Gone,
        story: Story {
            outputs: &[Output {
                sample: &sample::MP4,
                source: Manner::Refuses(404),
                proxy: Some(Manner::Refuses(410)),
            }],
            prompt: "last year's snow",
            ..READY
        },
    },
];

/// What jobs without a story of their own do, in turns: they are ready, and their files are there.
static PLAIN: [Scenario; 3] = [
    plain(&[Output { sample: &sample::GIF, source: Manner::Serves, proxy: Some(Manner::Serves) }]),
    plain(&[Output { sample: &sample::MP4, source: Manner::Serves, proxy: Some(Manner::Serves) }]),
    plain(&[Output { sample: &sample::WEBM, source: Manner::Serves, proxy: Some(Manner::Serves) }]),
];

const fn plain(outputs: &'static [Output]) -> Scenario {
    Scenario {
        family: DEFAULT_FAMILY,
        id: "",
        title: "plain",
        shows: "a job like most",
        expected: Expected::Complete(Rung::Output),
        story: Story { outputs, ..READY },
    }
}

/// The first of the plain jobs has this number; the others follow.
pub const FIRST_PLAIN_ID: u64 = 10_001;

/// The job of this id, where the look-alike has so many plain ones beside those with a story.
pub(super) fn find(id: &str, plain_jobs: u64) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.id == id).or_else(|| {
        let place = id.parse::<u64>().ok()?.checked_sub(FIRST_PLAIN_ID)?;
        let turn = usize::try_from(place % PLAIN.len() as u64).ok()?;
        (place < plain_jobs && !id.starts_with(['0', '+'])).then(|| &PLAIN[turn])
    })
}

impl Scenario {
    /// The job as `get` takes it: a bare id, or the family and the id.
    #[must_use]
    pub fn reference(&self) -> String {
        if self.family == DEFAULT_FAMILY { self.id.into() } else { format!("{}/{}", self.family, self.id) }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.id.is_empty()
    }

    /// What is not as it must be in the job's record, or `None` where all is.
    #[must_use]
    pub fn disagreement(&self, record: Option<&Manifest>) -> Option<String> {
        let Some(record) = record else { return Some("there is no record".into()) };
        let wanted = match self.expected {
            Expected::Complete(_) => State::Complete,
            Expected::Failed => State::Failed,
            Expected::Gone => State::Gone,
        };
        if record.state != wanted {
            return Some(format!("it is {} and not {}", record.state.word(), wanted.word()));
        }
        if self.story.works_for > Duration::ZERO && record.pending_seen_at.is_none() {
            return Some("it was not seen pending".into());
        }
        let Expected::Complete(rung) = self.expected else { return None };
        if record.files.len() != self.story.outputs.len() {
            return Some(format!("it has {} files and not {}", record.files.len(), self.story.outputs.len()));
        }
        record.files.iter().find_map(|file| {
            let sample = self.story.outputs.get(file.output).map(|output| output.sample);
            match sample {
                Some(sample) if file.sha256 != sample.digest() || file.bytes != sample.bytes.len() as u64 => {
                    Some(format!("{} has other bytes than {}", file.path, sample.name))
                }
                Some(_) if file.rung != rung => {
                    Some(format!("{} came from rung {} and not {}", file.path, file.rung.word(), rung.word()))
                }
                Some(_) => None,
                None => Some(format!("it has no output {}", file.output)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::job::Family;

    #[test]
    fn every_job_has_an_id_of_its_own_and_a_family_of_the_table() {
        let ids: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.id).collect();
        assert_eq!(ids.len(), SCENARIOS.len());
        for scenario in SCENARIOS {
            assert!(Family::named(scenario.family).is_ok(), "{}", scenario.family);
            assert_eq!(scenario.story.outputs.is_empty(), scenario.story.fails.is_some(), "{}", scenario.id);
        }
    }

    #[test]
    fn plain_jobs_are_as_many_as_asked_for() {
        let table = [
            ("147", 0, true),
            ("10000", 5, false),
            ("10001", 5, true),
            ("10005", 5, true),
            ("10006", 5, false),
            ("10001", 0, false),
            ("010001", 5, false),
            ("+10001", 5, false),
            ("x", 5, false),
            ("", 5, false),
        ];
        for (id, plain_jobs, known) in table {
            assert_eq!(find(id, plain_jobs).is_some(), known, "{id} of {plain_jobs}");
        }
    }
}
