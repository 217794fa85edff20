//! Digests that hosts name for what they send.

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256, Sha512};

use crate::shared::{SOON, causes, each_is_left_for_its_mirror, one_source};
use crate::support::{Answer, Content, Framing, World};

/// Digests of a content as hosts write them: `sha-256=:…:`.
fn digests(content: &Content) -> (String, String, String) {
    let bytes = content.bytes();
    let sha256 = BASE64.encode(&Sha256::digest(&bytes));
    (format!("sha-256=:{sha256}:"), format!("sha-512=:{}:", BASE64.encode(&Sha512::digest(&bytes))), sha256)
}

#[test]
fn bytes_that_are_not_those_of_the_hosts_own_digest_lead_to_the_mirror() {
    let (clip, other) = (Content::mp4(1, 50_000), Content::mp4(2, 50_000));
    let (sha256, sha512, bare) = digests(&other);
    let says = |name: &str, value: &str| Answer::file(&clip).header(name, value);
    let (world, _) = each_is_left_for_its_mirror(vec![
        says("Repr-Digest", &sha256).into(),
        says("Content-Digest", &format!("{sha512}, {sha256};q=1")).into(),
        says("Repr-Digest", &sha512).also_header("Repr-Digest", &sha256).framing(Framing::Chunked).into(),
        says("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==").into(),
        says("x-amz-checksum-sha256", &bare).into(),
    ]);
    for place in 0..5 {
        assert_eq!(causes(&world, place), ["digest_mismatch"]);
    }
    let world = one_source(says("Repr-Digest", &sha256), clip.clone());
    world.get(&["147"]).args(&SOON).run().exits(1).says("Repr-Digest");
    assert_eq!((world.staged(), world.names("147")), (Vec::new(), vec!["manifest.json".into()]));
}

#[test]
fn digests_that_agree_or_cannot_be_read_stand_in_no_ones_way() {
    let world = World::new();
    let clip = world.content(Content::of(b"GIF89a\x01\0\x01\0\0\0\0\x3b"));
    let (sha256, sha512, bare) = digests(&clip);
    let md5 = BASE64.encode(&HEXLOWER.decode(b"bc4be32fc23f91be8d1d93f61cf61838").unwrap());
    let answers = [
        ("Repr-Digest", sha256.as_str()),
        ("Content-Digest", &format!("{sha512},{sha256}")),
        ("Content-MD5", &md5),
        ("x-amz-checksum-sha256", &bare),
        ("x-amz-checksum-sha256", "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=-3"),
        ("Repr-Digest", "sha-256=:short=:, unixsum=:AAA=:"),
        ("Repr-Digest", "sha-256=garbage"),
        ("Content-MD5", "!"),
        ("Repr-Digest", ""),
    ];
    let urls = answers.iter().enumerate().map(|(place, (name, value))| {
        world.media.on(&format!("/{place}.gif"), Answer::file(&clip).header(name, value))
    });
    world.job("147", Answer::success(&urls.collect::<Vec<_>>()));
    world.get(&["147"]).args(&SOON).run().exits(0);
    for (place, answer) in answers.iter().enumerate() {
        world.holds("147", place, &clip);
        assert_eq!(world.entry("147", place)["rung"], "output", "{answer:?}");
    }
}

#[test]
fn a_digest_of_the_whole_is_held_against_a_file_that_came_in_two_parts() {
    let clip = Content::mp4(1, 60_000);
    let right = digests(&clip).0;
    let wrong = digests(&Content::mp4(2, 60_000)).0;
    let cut = Answer::file(&clip).cut_at(30_000);
    // The part's own digest says nothing about the whole.
    let rest = Answer::file(&clip).header("Repr-Digest", &right).header("Content-Digest", &wrong);
    let world = one_source(cut.clone().then(rest), clip.clone());
    world.get(&["147"]).args(&SOON).run().exits(0);
    world.holds("147", 0, &clip);
    assert_eq!(world.media.log()[1].range_from(), Some(30_000));
    // A file that was changed under the same validator.
    let world = one_source(cut.then(Answer::file(&clip).header("Repr-Digest", &wrong)), clip);
    world.get(&["147"]).args(&SOON).run().exits(1);
    assert_eq!(world.names("147"), ["manifest.json"]);
}
