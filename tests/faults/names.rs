//! What names and addresses may do: nothing. Names on disk are ours, and nobody is led where he should not go.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use url::Url;

use crate::support::run::Signal;
use crate::support::{Answer, Content, World, job_path, read_manifest};

/// A job with an output behind each of these paths; asserts that all come home under names of ours.
fn come_home_under_names_of_ours(paths: &[&str], dress: impl Fn(Answer) -> Answer) -> World {
    let world = World::new();
    let mut urls = Vec::new();
    let mut clips = Vec::new();
    for (place, path) in paths.iter().enumerate() {
        let clip = world.content(Content::mp4(place as u64, 20_000 + place as u64));
        let url = world.media.url(path);
        let asked = Url::parse(&url).unwrap_or_else(|error| panic!("{url}: {error}"));
        world.media.on(asked.path(), dress(Answer::file(&clip)));
        urls.push(url);
        clips.push(clip);
    }
    world.job("147", Answer::success(&urls));
    world.get(&["147", "-R", "1"]).run().exits(0);
    let mut ours: Vec<String> = (0..paths.len()).map(|place| format!("147-{place}.mp4")).collect();
    ours.push("manifest.json".into());
    ours.sort();
    assert_eq!(world.names("147"), ours);
    for (place, clip) in clips.iter().enumerate() {
        world.holds("147", place, clip);
    }
    let asked = world.media.log().len();
    world.get(&["147"]).run().exits(0);
    assert_eq!(world.media.log().len(), asked, "a rerun fetched again");
    world
}

#[test]
fn paths_that_climb_lead_nowhere() {
    let paths = [
        "/../../../etc/passwd",
        "/a/%2e%2e/%2e%2e/%2e%2e/canary.txt",
        "/%2e%2e%2f%2e%2e%2fcanary.txt",
        "/..%5c..%5ccanary.txt",
        "/..\\..\\windows\\canary.txt",
        "//etc/shadow",
        "/%2fetc%2fhosts",
        "/C:%5cboot.ini",
        "/clip.mp4%00.sh",
        "/....//....//canary.txt",
        "/~/.ssh/authorized_keys",
        "/clip.mp4;/../../x",
    ];
    come_home_under_names_of_ours(&paths, |file| file);
}

#[test]
fn a_name_that_a_header_gives_is_ignored() {
    let names = [
        "attachment; filename=\"../../../canary.txt\"",
        "attachment; filename=/etc/cron.d/job",
        "attachment; filename=\"run.sh\"; filename*=UTF-8''%2e%2e%2frun.desktop",
        "inline; filename=\"manifest.json\"",
    ];
    for name in names {
        come_home_under_names_of_ours(&["/a/clip"], |file| file.header("Content-Disposition", name));
    }
}

#[test]
fn bytes_of_no_known_kind_get_no_ending_that_a_system_obeys() {
    let world = World::new();
    let bytes = world.content(Content::unknown(1, 20_000));
    let named = "attachment; filename=\"run.sh\"";
    let paths = ["/a.sh", "/a.desktop", "/a.exe", "/a.MP4", "/a.glb", "/a", "/a.mp4/b.html", "/a.mp4.%2fsh"];
    let urls =
        paths.map(|path| world.media.on(path, Answer::file(&bytes).header("Content-Disposition", named)));
    world.job("147", Answer::success(&urls));
    world.get(&["147"]).run().exits(0);
    let endings = ["bin", "bin", "bin", "mp4", "glb", "bin", "bin", "bin"];
    for (place, ending) in endings.iter().enumerate() {
        assert_eq!(world.entry("147", place)["path"], format!("147-{place}.{ending}"), "{}", paths[place]);
    }
}

#[test]
fn names_that_are_far_too_long_do_no_harm() {
    let (name, path) = (format!("/{}.mp4", "n".repeat(300)), format!("/{}.mp4", "p/".repeat(4_000)));
    come_home_under_names_of_ours(&[&name, &path], |file| file);
}

#[test]
fn names_that_some_system_trips_over_do_no_harm() {
    let paths = [
        "/CON",
        "/nul.mp4",
        "/com1.gif",
        "/clip.",
        "/clip%20",
        "/-rf",
        "/.bashrc",
        "/",
        "/a/",
        "/%20",
        "/a:b",
        "/a*b%3Fc",
        "/%3Cscript%3E",
        "/a%7Cb",
        "/$(reboot)",
        "/`reboot`",
        "/'\"",
    ];
    come_home_under_names_of_ours(&paths, |file| file);
}

#[test]
fn letters_that_no_name_should_hold_do_no_harm() {
    let paths = [
        "/a%0d%0ab.mp4",
        "/a%1b%5b2Jb.mp4",
        "/a\u{1b}]52;c;QQ==\u{7}b.mp4",
        "/a\u{202e}4pm.exe",
        "/a%ff%fe.mp4",
        "/a%c0%ae%c0%ae%c0%af.mp4",
        "/a\u{0}b.mp4",
        "/a\u{7f}b.mp4",
        "/e\u{301}.mp4",
        "/\u{e9}.mp4",
        "/\u{1f4a9}.mp4",
    ];
    for show in ["-v", "--json"] {
        let world = come_home_under_names_of_ours(&paths, |file| file);
        let html = paths.map(|path| {
            let asked = Url::parse(&world.media.url(path)).unwrap();
            world.media.on(asked.path(), Answer::html());
            world.media.url(path)
        });
        world.job("148", Answer::success(&html));
        world.get(&["148", "-R", "1", show]).run().exits(1);
    }
}

#[test]
fn an_answer_that_is_no_utf_8_is_no_answer() {
    let world = World::new();
    let body =
        [&b"{\"status\":\"success\",\"output\":[\"http://127.0.0.1/"[..], b"\xff\xfe.mp4\"]}"].concat();
    let answer = Answer::status(200).header("Content-Type", "application/json").body(Content::of(body));
    world.job("147", answer);
    world.get(&["147", "-R", "1"]).run().exits_with(&[1, 4]);
    assert!(world.names("147").iter().all(|name| name == "manifest.json"));
}

#[test]
fn names_that_are_equal_or_differ_only_in_case_get_names_of_their_own() {
    come_home_under_names_of_ours(&["/a/clip.mp4", "/b/clip.mp4", "/a/Clip.mp4", "/A/CLIP.MP4"], |file| file);
    let world = World::new();
    let (one, two) = (world.content(Content::mp4(1, 20_000)), world.content(Content::mp4(2, 20_000)));
    world.job("AbC", Answer::success(&[world.media.on("/1.mp4", Answer::file(&one))]));
    world.job("abc", Answer::success(&[world.media.on("/2.mp4", Answer::file(&two))]));
    world.get(&["AbC", "abc"]).run().exits(0);
    let folders: Vec<String> = std::fs::read_dir(world.archive())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().to_lowercase())
        .filter(|name| name != ".vfetch")
        .collect();
    assert!(folders.len() == 2 && folders[0] != folders[1], "{folders:?}");
    let digest = |folder: &str| {
        let record = read_manifest(&world.archive().join(folder).join("manifest.json")).unwrap();
        (record["job"]["id"].clone(), record["files"][0]["sha256"].clone())
    };
    for folder in folders {
        let (id, sha256) = digest(&folder);
        let want = if id == "AbC" { one.sha256() } else { two.sha256() };
        assert_eq!(sha256, want.as_str(), "{id}");
    }
}

#[test]
fn outputs_that_are_called_like_our_own_files_replace_none_of_them() {
    let paths = ["/manifest.json", "/147-0.mp4.part", "/SHA256SUMS", "/.vfetch/staging/lock", "/147-1.mp4"];
    come_home_under_names_of_ours(&paths, |file| file);
}

/// Notes where the program connects to, and answers for some names in ways that a hostile DNS server can.
const WATCHED_NETWORK: &str = r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void note(const char *what, const char *whom) {
    FILE *log = fopen(getenv("WATCHED"), "a");
    if (log) {
        fprintf(log, "%s %s\n", what, whom);
        fclose(log);
    }
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
    static int (*real)(int, const struct sockaddr *, socklen_t);
    char text[INET6_ADDRSTRLEN] = "elsewhere";
    if (!real) real = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    if (address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, sizeof text);
    if (address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, sizeof text);
    note("connect", text);
    return real(fd, address, length);
}

typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    static int turns;
    resolver *real = (resolver *)dlsym(RTLD_NEXT, "getaddrinfo");
    note("resolve", node);
    if (strcmp(node, "inside.test") == 0) return real("10.0.0.7", service, hints, found);
    if (strcmp(node, "turns.test") == 0)
        return real(turns++ == 0 ? "127.0.0.1" : "169.254.169.254", service, hints, found);
    if (strcmp(node, "both.test") == 0) {
        int said = real("169.254.169.254", service, hints, found);
        struct addrinfo *last = *found;
        while (said == 0 && last->ai_next) last = last->ai_next;
        return said ? said : real("127.0.0.1", service, hints, &last->ai_next);
    }
    return real(node, service, hints, found);
}
"#;

#[expect(clippy::print_stderr, reason = "whoever runs the tests should know")]
fn watched_network(world: &World) -> Option<(PathBuf, PathBuf)> {
    let (source, library) = (world.file("network.c", WATCHED_NETWORK), world.path("network.so"));
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no C compiler that makes a shared library");
        return None;
    }
    Some((library, world.path("watched.log")))
}

/// The addresses that were connected to, and the names that were resolved.
fn watched(log: &Path) -> (Vec<String>, Vec<String>) {
    let text = std::fs::read_to_string(log).unwrap();
    let of =
        |what: &str| text.lines().filter_map(|line| line.strip_prefix(what)).map(str::to_owned).collect();
    (of("connect "), of("resolve "))
}

#[test]
fn addresses_where_strangers_have_no_business_are_never_connected_to() {
    let world = World::new();
    let Some((library, log)) = watched_network(&world) else { return };
    let hosts = [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[::169.254.169.254]",
        "0.0.0.0",
        "0",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "0xa9.254.0251.254",
        "169.254.43518",
        "169.254.169.254.",
        "169%2e254%2e169%2e254",
        "\u{ff11}\u{ff16}\u{ff19}.254.169.254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "[fe80::1]",
        "[fd00::1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[::]",
        "224.0.0.1",
        "255.255.255.255",
        "inside.test",
        "user:word@10.0.0.1",
    ];
    let url = |host: &&str| format!("http://{host}/clip.mp4");
    let urls: Vec<String> = hosts.iter().map(url).collect();
    world.job("147", Answer::success(&urls));
    let run = world.get(&["147", "-R", "1"]).env("LD_PRELOAD", &library).env("WATCHED", &log);
    run.may_write(&log).run().exits(1);
    let missing = world.manifest("147").unwrap()["missing"].as_array().cloned().unwrap();
    assert_eq!(missing.len(), hosts.len());
    for (missing, host) in missing.iter().zip(hosts) {
        assert_eq!(missing["reasons"][0]["cause"], "address_refused", "{host}: {missing:#}");
    }
    let (connected, resolved) = watched(&log);
    assert!(!connected.is_empty() && connected.iter().all(|address| address == "127.0.0.1"), "{connected:?}");
    assert!(resolved.contains(&"inside.test".to_owned()), "{resolved:?}");
}

#[test]
fn a_redirect_leads_to_such_an_address_no_more_than_a_link_does() {
    let world = World::new();
    let Some((library, log)) = watched_network(&world) else { return };
    let mirror = world.host();
    let hosts = ["169.254.169.254", "[::ffff:a9fe:a9fe]", "0.0.0.0", "10.0.0.1", "inside.test", "[fe80::1]"];
    let (mut urls, mut proxies, mut clips) = (Vec::new(), Vec::new(), Vec::new());
    for (place, host) in hosts.iter().enumerate() {
        let clip = world.content(Content::mp4(place as u64, 20_000));
        let path = format!("/{place}.mp4");
        urls.push(world.media.on(&path, Answer::redirect(302, &format!("http://{host}/latest/meta-data"))));
        proxies.push(mirror.on(&path, Answer::file(&clip)));
        clips.push(clip);
    }
    world.job("147", Answer::success_with_proxies(&urls, &proxies));
    let run = world.get(&["147", "-R", "1"]).env("LD_PRELOAD", &library).env("WATCHED", &log);
    run.may_write(&log).run().exits(0);
    for (place, clip) in clips.iter().enumerate() {
        world.holds("147", place, clip);
        assert_eq!(world.entry("147", place)["left"][0]["cause"], "address_refused", "{}", hosts[place]);
    }
    let (connected, _) = watched(&log);
    assert!(connected.iter().all(|address| address == "127.0.0.1"), "{connected:?}");
}

#[test]
fn a_name_leads_only_to_the_address_that_was_checked_however_it_resolves_the_next_time() {
    let world = World::new();
    let Some((library, log)) = watched_network(&world) else { return };
    let (clip, other) = (world.content(Content::mp4(1, 60_000)), world.content(Content::mp4(2, 60_000)));
    let port = world.media.authority().rsplit(':').next().unwrap().to_owned();
    world.media.on("/clip.mp4", Answer::file(&clip).cut_at(30_000).then(Answer::file(&clip)));
    let mirror = world.host().on("/clip.mp4", Answer::file(&clip));
    world.media.on("/other.mp4", Answer::file(&other));
    let turns = format!("http://turns.test:{port}/clip.mp4");
    let both = format!("http://both.test:{port}/other.mp4");
    world.job("1", Answer::success_with_proxies(std::slice::from_ref(&turns), &[mirror]));
    world.job("2", Answer::success(&[both]));
    world.job("3", Answer::success(&[turns]));
    let run = world.get(&["1", "2", "3", "-R", "2", "-j", "1"]).env("LD_PRELOAD", &library);
    run.env("WATCHED", &log).may_write(&log).run().exits_with(&[0, 1]);
    world.holds("2", 0, &other);
    let (connected, resolved) = watched(&log);
    assert!(connected.iter().all(|address| address == "127.0.0.1"), "{connected:?}");
    assert!(resolved.iter().filter(|name| *name == "turns.test").count() > 1, "{resolved:?}");
    assert_eq!(world.state("1"), "complete");
    assert_eq!(world.manifest("3").unwrap()["missing"][0]["reasons"][0]["cause"], "address_refused");
}

#[test]
fn what_is_no_web_address_is_neither_read_nor_asked_for() {
    let world = World::new();
    let secret = world.file("secret.mp4", Content::mp4(7, 20_000).bytes());
    let links = [
        &format!("file://{}", secret.display()),
        &format!("FILE://{}", secret.display()),
        secret.to_str().unwrap(),
        "file:///etc/passwd",
        &world.media.url("/clip.mp4").replace("http://", "ftp://"),
        &world.media.url("/clip.mp4").replace("http://", "ws://"),
        &world.media.url("/clip.mp4").replace("http:", ""),
        "data:text/html,<html></html>",
        "data:text/html;base64,PGh0bWw+PC9odG1sPg==",
        "data:video/mp4;base64,!!!",
        "data:,",
        "/clip.mp4",
        "clip.mp4",
        "../clip.mp4",
        "",
        "   ",
        "http://",
        "http://[::1",
        "http://a b/clip.mp4",
        "javascript:alert(1)",
        "unix:/run/docker.sock",
        "\u{0}",
        "null",
    ];
    world.media.on("/clip.mp4", Answer::file(&Content::mp4(8, 20_000)));
    world.job("1", Answer::json(&json!({ "status": "success", "output": links })));
    world.get(&["1", "-R", "1"]).run().exits(1);
    assert_eq!((world.state("1"), world.names("1")), ("failed".into(), vec!["manifest.json".into()]));
    assert!(world.media.log().is_empty(), "{:?}", world.media.log());
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every file below a folder whose bytes hold one of these texts.
fn holding(folder: &Path, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, texts));
        } else if let Ok(bytes) = std::fs::read(&path) {
            let held =
                texts.iter().filter(|text| bytes.windows(text.len()).any(|part| part == text.as_bytes()));
            found.extend(held.map(|text| format!("{} holds {text}", path.display())));
        }
    }
    found
}

#[test]
fn users_passwords_and_signatures_of_links_are_kept_nowhere_and_only_signatures_are_sent() {
    const SECRETS: [&str; 5] = ["al1ce", "pa55w0rd", "S1gnatur3", "T0ken", "fr4gment"];
    for show in ["-v", "--json"] {
        let world = World::new();
        let clip = world.content(Content::mp4(1, 60_000));
        let signed =
            |url: &str| format!("{url}?X-Amz-Signature=S1gnatur3&X-Amz-Security-Token=T0ken#fr4gment");
        let secret = |url: &str| {
            let url = url.replace("http://", "http://al1ce:pa55w0rd@");
            signed(&url)
        };
        let plain = world.media.on("/clip.mp4", Answer::file(&clip));
        let hop = Answer::redirect(302, &signed(&plain));
        let moved = world.media.on("/moved.mp4", hop);
        let page = world.media.on("/page.mp4", Answer::html());
        let stalls = world.media.on("/stalls.mp4", Answer::file(&clip).stall_at(30_000));
        let dead = secret(&format!("{}/clip.mp4", world.refusing()));
        let done = json!({
            "status": "success", "output": [secret(&plain), secret(&moved)],
            "meta": { "init_image": secret(&plain) },
        });
        world.job("1", Answer::json(&done));
        let refused = secret("http://10.0.0.1/x");
        // So often that the host counts as dead, and that is told too.
        let failing = [secret(&page), refused, dead.clone(), dead.clone(), dead.clone(), dead.clone(), dead];
        world.job("2", Answer::success(&failing));
        world.job("3", Answer::success(&[secret(&stalls)]));
        let failed = world.file("failed.txt", "");
        let run = world.get(&["1", "2", "3", "-R", "0", show]);
        let run = run.args(&["--failed".into(), failed.clone().into_os_string()]).may_write(&failed);
        let running = run.spawn();
        world.wait_for_staged(1);
        world.media.wait_for("all files", |log| {
            ["/clip.mp4", "/page.mp4", "/stalls.mp4"]
                .iter()
                .all(|path| log.iter().any(|seen| seen.path() == *path))
        });
        // Its sources are asked again when all have failed.
        world.api.wait_for("job 2 asked again", |log| {
            log.iter().filter(|seen| seen.target == job_path("2")).count() > 1
        });
        until("job 1 is complete", || world.state("1") == "complete");
        running.signal(Signal::TERM);
        let mut done = running.wait().exits(143);
        for text in SECRETS {
            done = done.never_says(text);
        }
        world.get(&["1", "-R", "1"]).run().exits(0);
        assert_eq!(world.entry("1", 0)["source"], plain.as_str());
        assert_eq!(holding(&world.path(""), &SECRETS), Vec::<String>::new());
        let asked = world.media.calls("/clip.mp4");
        assert!(
            asked
                .iter()
                .all(|seen| seen.target.ends_with("?X-Amz-Signature=S1gnatur3&X-Amz-Security-Token=T0ken"))
        );
    }
}

#[test]
fn a_host_is_one_host_whatever_user_its_links_name() {
    let world = World::new();
    let clip = world.content(Content::mp4(1, 20_000));
    let url = world.media.on("/clip.mp4", Answer::file(&clip).after(Duration::from_millis(50)));
    let urls: Vec<String> = (0..24).map(|user| url.replace("http://", &format!("http://u{user}@"))).collect();
    world.job("147", Answer::success(&urls));
    world.get(&["147", "-x", "2"]).run().exits(0);
    world.holds("147", 23, &clip);
    assert_eq!(world.media.most_at_once(), 2);
}
