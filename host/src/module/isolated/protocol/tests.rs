//! Frames of every kind, whole, chopped, and written over.

use proptest::prelude::*;

use crate::fuzz;

use super::framing::{CHUNK, KEPT};
use super::*;

fn every_word_of_the_child() -> Vec<FromChild<'static>> {
    let report =
        PanicReport { message: "no".into(), place: "lib.rs:1".into(), addresses: vec![1, usize::MAX] };
    let filters = vec![("type".to_owned(), Some("all".to_owned())), ("action".to_owned(), None)];
    let fired = Fired {
        hook_event: "door".into(),
        account: "acme".into(),
        internal_leg: true,
        filters,
        hook: None,
        payload: b"{}",
    };
    let carried = Fired { hook: Some(b"{\"id\":1}"), payload: b"", filters: Vec::new(), ..fired.clone() };
    vec![
        FromChild::Speaks(VERSION),
        FromChild::Now(LoadStep::Open),
        FromChild::Now(LoadStep::Init),
        FromChild::Now(LoadStep::Wants),
        FromChild::Loaded { metadata: "{}".into(), wants: "[]".into() },
        FromChild::Refused("init failed".into()),
        FromChild::Log(Level::Warn, "näh".into()),
        FromChild::ResellerOf("acme".into()),
        FromChild::Fired(fired),
        FromChild::Fired(carried),
        FromChild::Ended(Ok(())),
        FromChild::Ended(Err(CallError::Error("told to".into()))),
        FromChild::Ended(Err(CallError::Panicked(report))),
        FromChild::Ended(Err(CallError::Protocol("fired nonsense".into()))),
        FromChild::Bye,
        FromChild::Here(1234),
    ]
}

fn every_word_of_the_host() -> Vec<ToChild<'static>> {
    let settings = BTreeMap::from([("delivery.profile".to_owned(), "\"kazoo\"".to_owned())]);
    vec![
        ToChild::Hello {
            module: "webhooks_door".into(),
            generation: 7,
            copy: Cow::Borrowed(b"/copies/\xff.so"),
            settings: Cow::Owned(settings),
        },
        ToChild::Event("{}"),
        ToChild::Event(""),
        ToChild::Reseller(None),
        ToChild::Reseller(Some("boss")),
        ToChild::Shutdown,
    ]
}

/// The frames that come out of an inbox which is filled in pieces of these lengths, again and again.
fn through(stream: &[u8], pieces: &[usize]) -> Result<Vec<Vec<u8>>, BadFrame> {
    let mut inbox = FrameReader::new(MAX_FRAME);
    let mut frames = Vec::new();
    let mut rest = stream;
    for piece in pieces.iter().cycle() {
        let (mut now, later) = rest.split_at((*piece).min(rest.len()));
        rest = later;
        while !now.is_empty() {
            inbox.fill(&mut now).unwrap();
            while let Some(place) = inbox.next()? {
                frames.push(inbox.frame(place).to_vec());
            }
        }
        if rest.is_empty() {
            break;
        }
    }
    let most = CHUNK.max(2 * stream.len());
    assert!(inbox.buffer.len() <= most * 2, "{} bytes for {}", inbox.buffer.len(), stream.len());
    Ok(frames)
}

#[test]
fn every_word_reads_as_it_was_written() {
    for word in every_word_of_the_child() {
        let mut out = Vec::new();
        word.write(&mut out);
        let frames = through(&out, &[1]).unwrap();
        assert_eq!(frames.len(), 1);
        // What is read has no type that compares; what it writes again has.
        let mut again = Vec::new();
        FromChild::read(&frames[0]).unwrap().write(&mut again);
        assert_eq!(again, out, "{word:?}");
        let read = FromChild::read(&frames[0]).unwrap();
        assert_eq!(format!("{read:?}"), format!("{word:?}"));
    }
    for word in every_word_of_the_host() {
        let mut out = Vec::new();
        word.write(&mut out);
        assert_eq!(ToChild::read(&out[4..]), Ok(word));
    }
}

#[test]
fn a_frame_that_promises_too_much_is_nonsense_before_anything_is_taken_for_it() {
    let nonsense = through(&[0xff; 64], &[64]).unwrap_err();
    assert_eq!(nonsense.0, format!("a frame of 4294967295 bytes; the limit is {MAX_FRAME}"));
}

#[test]
fn a_count_that_promises_too_much_ends_with_the_frame() {
    let mut out = Vec::new();
    frame(&mut out, 7, |out| {
        bytes(out, b"door");
        bytes(out, b"acme");
        out.push(0);
        number(out, usize::MAX);
    });
    let nonsense = FromChild::read(&out[4..]).unwrap_err();
    assert_eq!(nonsense.0, "a frame of the kind 7 that ends too early");
}

#[test]
fn long_text_is_cut_between_two_characters() {
    let long = "ä".repeat(MAX_TEXT);
    let mut out = Vec::new();
    FromChild::Log(Level::Info, long.as_str().into()).write(&mut out);
    let Ok(FromChild::Log(_, text)) = FromChild::read(&out[4..]) else { panic!("a log line") };
    assert_eq!(text, "ä".repeat(MAX_TEXT / 2));
}

#[test]
fn a_large_frame_does_not_keep_its_room() {
    let mut out = Vec::new();
    frame(&mut out, 4, |out| bytes(out, &[b'x'; 4 * KEPT]));
    let mut inbox = FrameReader::new(MAX_FRAME);
    let mut from = out.as_slice();
    while inbox.next().unwrap().is_none() {
        inbox.fill(&mut from).unwrap();
    }
    assert!(inbox.buffer.len() > KEPT);
    inbox.fill(&mut from).unwrap();
    assert_eq!(inbox.buffer.len(), CHUNK);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_or_take_more_room_than_they_have(
        stream in prop::collection::vec(any::<u8>(), 0..4000),
        pieces in prop::collection::vec(1_usize..600, 1..10),
    ) {
        for frame in through(&stream, &pieces).unwrap_or_default() {
            _ = FromChild::read(&frame);
            _ = ToChild::read(&frame);
        }
    }

    #[test]
    fn a_frame_written_over_is_read_or_refused(
        word in 0..every_word_of_the_child().len(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut out = Vec::new();
        every_word_of_the_child()[word].write(&mut out);
        let mut frame = out.split_off(4);
        let at = at.index(frame.len());
        frame[at] = byte;
        _ = FromChild::read(&frame);
        _ = FromChild::read(&frame[..cut.index(frame.len())]);
    }

    #[test]
    fn frames_arrive_whole_however_they_are_chopped(
        words in prop::collection::vec(0..every_word_of_the_child().len(), 1..40),
        pieces in prop::collection::vec(1_usize..200, 1..10),
    ) {
        let all = every_word_of_the_child();
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for word in words {
            let mut one = Vec::new();
            all[word].write(&mut one);
            stream.extend(&one);
            expected.push(one.split_off(4));
        }
        prop_assert_eq!(through(&stream, &pieces).unwrap(), expected);
    }
}

/// Frames from either side, without their length.
#[test]
fn fuzz_isolated_protocol() {
    fuzz::target("isolated_protocol", |bytes| {
        if let Ok(said) = FromChild::read(bytes) {
            let mut written = Vec::new();
            said.write(&mut written);
            let again = FromChild::read(&written[4..]);
            let same = again.as_ref().is_ok_and(|again| format!("{again:?}") == format!("{said:?}"));
            fuzz::ensure(same, || format!("{said:?} is read again as {again:?}"))?;
        }
        drop(ToChild::read(bytes));
        Ok(())
    });
}
