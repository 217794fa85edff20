//! Walks a container as its bytes pass by.
//!
//! Every format is a chain of small headers, each of which says how many bytes to skip to the next one. The walker
//! gathers a header, lets the format's own function read it, and skips; so it does not matter how the bytes are cut
//! into chunks, and payload is never looked at, except in JPEG, whose image data has to be searched for its end.

use super::{MediaKind, SNIFF_BYTES, Sniff, blank_units, magic, text_or_unknown};

/// Whether a file is whole, as far as its own structure tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It reaches the end that its container declares.
    Whole,
    /// It ends before that; this is what is missing first.
    Cut(&'static str),
    /// Its kind does not say where it ends.
    Untold,
}

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What its first bytes show.
    pub sniff: Sniff,
    /// Whether it is whole.
    pub completeness: Completeness,
    /// How many bytes there were.
    pub bytes: u64,
}

/// The verdict on bytes that are all here.
#[must_use]
pub fn judge(bytes: &[u8]) -> Verdict {
    let mut walker = Walker::new();
    walker.feed(bytes);
    walker.finish()
}

/// Takes a file's bytes in order, in chunks of any size, and judges them at the end.
#[derive(Clone, Debug)]
pub struct Walker {
    head: Vec<u8>,
    /// Whether the file began with white space that is no longer in the head.
    blank: bool,
    sniff: Option<Sniff>,
    steps: Option<Steps>,
    bytes: u64,
}

impl Default for Walker {
    fn default() -> Self {
        Self::new()
    }
}

impl Walker {
    /// A walker that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { head: Vec::with_capacity(SNIFF_BYTES), blank: false, sniff: None, steps: None, bytes: 0 }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        if self.sniff.is_some() {
            if let Some(steps) = &mut self.steps {
                steps.feed(chunk);
            }
            return;
        }
        let mut rest = chunk;
        while self.sniff.is_none() && !rest.is_empty() {
            let (head, later) = rest.split_at(rest.len().min(SNIFF_BYTES - self.head.len()));
            self.head.extend_from_slice(head);
            rest = later;
            if self.head.len() == SNIFF_BYTES {
                self.decide_or_look_further();
            }
        }
        if let Some(steps) = &mut self.steps {
            steps.feed(rest);
        }
    }

    /// What the first bytes show, once [`SNIFF_BYTES`] are here.
    #[must_use]
    pub fn sniff(&self) -> Option<Sniff> {
        self.sniff
    }

    /// The first bytes, up to [`SNIFF_BYTES`] of them, without the white space before a longer text.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether nothing but white space has come, however much: no file, under any name.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.sniff.is_none() && blank_units(&self.head).end == self.head.len()
    }

    /// The verdict, now that there are no more bytes.
    #[must_use]
    pub fn finish(mut self) -> Verdict {
        if self.sniff.is_none() {
            self.decide();
        }
        let completeness = match &self.steps {
            _ if self.bytes == 0 => Completeness::Cut("everything"),
            Some(steps) => steps.finish(),
            None => Completeness::Untold,
        };
        Verdict { sniff: self.sniff.unwrap_or(Sniff::Unknown), completeness, bytes: self.bytes }
    }

    /// Decides on a full head, unless it begins with white space: templates of pages leave any amount of it before
    /// their first tag. No media begins so, but for what its magic shows before the white space is dropped.
    fn decide_or_look_further(&mut self) {
        let blank = blank_units(&self.head);
        if blank.is_empty() || !self.blank && magic(&self.head).is_some() {
            return self.decide();
        }
        self.head.drain(blank);
        self.blank = true;
    }

    fn decide(&mut self) {
        let kind = if self.blank { None } else { magic(&self.head) };
        let sniffed = kind.map_or_else(|| text_or_unknown(&self.head), Sniff::Kind);
        self.sniff = Some(sniffed);
        if let Sniff::Kind(kind) = sniffed
            && let Some(format) = Format::of(kind)
        {
            let mut steps =
                Steps { format, gathered: Vec::new(), need: 1, skip: 0, last: false, ended: None };
            steps.feed(&self.head);
            self.steps = Some(steps);
        }
    }
}

/// What to do after a look at what was gathered.
enum Step {
    /// Gather this many bytes in all, more than were looked at, then look again.
    Gather(usize),
    /// Drop what was gathered, skip so many bytes, then gather anew.
    Skip(u64),
    /// Drop what was gathered, skip so many bytes, and that is the container's end.
    SkipToEnd(u64),
    /// The container's end.
    End,
    /// What follows cannot be followed: the kind tells no more.
    Lost,
    /// The structure is broken; this is what is missing.
    Broken(&'static str),
}

#[derive(Clone, Debug)]
struct Steps {
    format: Format,
    gathered: Vec<u8>,
    need: usize,
    skip: u64,
    /// Whether the container ends where the skip does.
    last: bool,
    ended: Option<Completeness>,
}

impl Steps {
    fn feed(&mut self, mut chunk: &[u8]) {
        while self.ended.is_none() {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
            self.skip -= skipped as u64;
            chunk = &chunk[skipped..];
            if self.last && self.skip == 0 {
                self.ended = Some(Completeness::Whole);
                return;
            }
            if chunk.is_empty() {
                return;
            }
            if self.format.searches() {
                match chunk.iter().position(|byte| *byte == 0xff) {
                    None => return,
                    Some(place) => chunk = &chunk[place..],
                }
            }
            let (taken, rest) = chunk.split_at(chunk.len().min(self.need - self.gathered.len()));
            self.gathered.extend_from_slice(taken);
            chunk = rest;
            if self.gathered.len() == self.need {
                let step = self.format.look(&self.gathered);
                self.take(&step);
            }
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Gather(need) => {
                debug_assert!(need > self.gathered.len(), "a look at the same bytes again would never end");
                self.need = need;
            }
            Step::Lost => self.ended = Some(Completeness::Untold),
            Step::Broken(what) => self.ended = Some(Completeness::Cut(what)),
            Step::End | Step::SkipToEnd(0) => self.ended = Some(Completeness::Whole),
            Step::Skip(bytes) => {
                self.gathered.clear();
                self.need = 1;
                self.skip = bytes;
            }
            Step::SkipToEnd(bytes) => {
                self.gathered.clear();
                (self.skip, self.last) = (bytes, true);
            }
        }
    }

    fn finish(&self) -> Completeness {
        self.ended.unwrap_or_else(|| {
            self.format.at_end(match (self.skip, self.gathered.len()) {
                (0, 0) => Place::Between,
                (0, bytes) => Place::Header(bytes),
                _ => Place::Payload,
            })
        })
    }
}

#[derive(Clone, Debug)]
enum Format {
    Gif(Gif),
    Iso(Iso),
    Png,
    Jpeg { state: Jpeg, image: bool },
    Ebml { live: bool, any: bool },
    Riff,
    Glb,
}

/// Which boxes of the ISO container were seen.
#[derive(Clone, Copy, Debug, Default)]
struct Iso {
    moov: bool,
    media: bool,
    end: IsoEnd,
    /// Whether the last box came behind both and has a name that no box has there: it may be somebody's bytes.
    stray: bool,
}

/// Whether an ISO container tells its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum IsoEnd {
    /// With its last box.
    #[default]
    Told,
    /// A fragment came, and no index of all fragments behind it: any number of fragments may follow.
    Open,
    /// A box goes on to the end of the file, wherever that is.
    Endless,
}

/// Where in a container its bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between two elements.
    Between,
    /// After so many bytes of an element's header.
    Header(usize),
    /// Within an element.
    Payload,
}

#[derive(Clone, Copy, Debug)]
enum Gif {
    Screen,
    Block,
    SubBlock,
}

#[derive(Clone, Copy, Debug)]
enum Jpeg {
    /// A marker comes next.
    Marker,
    /// The first byte of a marker was seen.
    Code,
    /// Image data, up to the next marker.
    Data,
}

impl Format {
    fn of(kind: MediaKind) -> Option<Self> {
        Some(match kind {
            MediaKind::Gif => Self::Gif(Gif::Screen),
            MediaKind::Mp4 | MediaKind::Mov | MediaKind::M4a | MediaKind::Avif => Self::Iso(Iso::default()),
            MediaKind::Png => Self::Png,
            MediaKind::Jpeg => Self::Jpeg { state: Jpeg::Marker, image: false },
            MediaKind::WebM | MediaKind::Mkv => Self::Ebml { live: false, any: false },
            MediaKind::WebP | MediaKind::Wav | MediaKind::Avi => Self::Riff,
            MediaKind::Glb => Self::Glb,
            MediaKind::Mp3 | MediaKind::Ogg | MediaKind::Flac | MediaKind::Unknown => return None,
        })
    }

    fn searches(&self) -> bool {
        matches!(self, Self::Jpeg { state: Jpeg::Data, .. })
    }

    fn look(&mut self, bytes: &[u8]) -> Step {
        match self {
            Self::Gif(state) => gif(state, bytes),
            Self::Iso(seen) => iso(seen, bytes),
            Self::Png => png(bytes),
            Self::Jpeg { state, image } => jpeg(state, image, bytes),
            Self::Ebml { live, any } => ebml(live, any, bytes),
            Self::Riff => riff(bytes),
            Self::Glb => glb(bytes),
        }
    }

    /// The verdict where the bytes end and the container did not.
    fn at_end(&self, place: Place) -> Completeness {
        match self {
            Self::Gif(_) => Completeness::Cut("the GIF trailer"),
            Self::Iso(seen) => seen.at_end(place),
            Self::Png => Completeness::Cut("the PNG end chunk"),
            Self::Jpeg { .. } => Completeness::Cut("the JPEG end marker"),
            Self::Ebml { live: true, any: true } if place == Place::Between => Completeness::Untold,
            Self::Ebml { .. } => Completeness::Cut("the end of the segment"),
            Self::Riff => Completeness::Cut("the end of the RIFF chunk"),
            Self::Glb => Completeness::Cut("the end of the glTF chunks"),
        }
    }
}

fn gif(state: &mut Gif, bytes: &[u8]) -> Step {
    /// Signature, screen size, flags, background, aspect.
    const SCREEN: usize = 13;
    /// Separator, place, size, flags.
    const IMAGE: usize = 10;
    let colours = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3_u64 << ((flags & 7) + 1) };
    match (*state, bytes) {
        (Gif::Screen, _) if bytes.len() < SCREEN => Step::Gather(SCREEN),
        (Gif::Screen, _) => {
            *state = Gif::Block;
            Step::Skip(colours(bytes[10]))
        }
        (Gif::Block, [0x3b, ..]) => Step::End,
        (Gif::Block, [0x21, ..]) if bytes.len() < 2 => Step::Gather(2),
        (Gif::Block, [0x21, ..]) => {
            *state = Gif::SubBlock;
            Step::Skip(0)
        }
        (Gif::Block, [0x2c, ..]) if bytes.len() < IMAGE => Step::Gather(IMAGE),
        (Gif::Block, [0x2c, ..]) => {
            *state = Gif::SubBlock;
            // The colours, and the code size before the first sub-block.
            Step::Skip(colours(bytes[9]) + 1)
        }
        // Some encoders leave stray zeros between blocks.
        (Gif::Block, [0, ..]) => Step::Skip(0),
        (Gif::Block, _) => Step::Broken("a readable GIF block"),
        (Gif::SubBlock, [0, ..]) => {
            *state = Gif::Block;
            Step::Skip(0)
        }
        (Gif::SubBlock, _) => Step::Skip(u64::from(bytes[0])),
    }
}

impl Iso {
    /// The size and the name of a box.
    const HEADER: usize = 8;
    /// The same, with the size behind the name.
    const LARGE_HEADER: usize = 16;
    /// The boxes that stand at the top.
    const TOP: &[&[u8; 4]] = &[
        b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"meta", b"idat", b"udta", b"pnot",
        b"pdin", b"moof", b"mfra", b"styp", b"sidx", b"ssix", b"prft", b"emsg", b"imda", b"PICT", b"junk",
    ];

    fn at_end(self, place: Place) -> Completeness {
        match place {
            _ if !self.moov => Completeness::Cut("the movie header (moov)"),
            _ if !self.media => Completeness::Cut("the media data (mdat)"),
            _ if self.end == IsoEnd::Endless => Completeness::Untold,
            Place::Header(_) | Place::Payload if self.stray => Completeness::Untold,
            Place::Between if self.end == IsoEnd::Open => Completeness::Untold,
            Place::Between => Completeness::Whole,
            // All that a player needs is here; whether these are a box that is cut or somebody's padding nothing tells.
            Place::Header(bytes) if bytes < Self::HEADER => Completeness::Untold,
            Place::Header(_) | Place::Payload => Completeness::Cut("the end of a box"),
        }
    }
}

fn iso(seen: &mut Iso, bytes: &[u8]) -> Step {
    let Some((size, kind)) = size_and_name(bytes) else { return Step::Gather(Iso::HEADER) };
    seen.stray = seen.moov && seen.media && !Iso::TOP.contains(&kind);
    let (size, header) = match (size, bytes[Iso::HEADER..].first_chunk()) {
        (1, None) => return Step::Gather(Iso::LARGE_HEADER),
        (1, Some(large)) => (u64::from_be_bytes(*large), Iso::LARGE_HEADER),
        (size, _) => (size.into(), Iso::HEADER),
    };
    match kind {
        b"moov" | b"meta" => seen.moov = true,
        b"mdat" | b"idat" => seen.media = true,
        b"moof" => seen.end = IsoEnd::Open,
        b"mfra" => seen.end = IsoEnd::Told,
        _ => {}
    }
    match size {
        // To the end of the file, wherever that is.
        0 => {
            seen.end = IsoEnd::Endless;
            Step::Skip(u64::MAX)
        }
        _ => match size.checked_sub(header as u64) {
            Some(payload) => Step::Skip(payload),
            None if seen.stray => Step::Lost,
            None => Step::Broken("a readable box"),
        },
    }
}

fn png(bytes: &[u8]) -> Step {
    const SIGNATURE: u64 = 8;
    const HEADER: usize = 8;
    const CHECKSUM: u64 = 4;
    if bytes[0] == 0x89 {
        return Step::Skip(SIGNATURE - 1);
    }
    match size_and_name(bytes) {
        None => Step::Gather(HEADER),
        Some((_, b"IEND")) => Step::SkipToEnd(CHECKSUM),
        Some((size, name)) if name.iter().all(u8::is_ascii_alphabetic) => {
            Step::Skip(u64::from(size) + CHECKSUM)
        }
        Some(_) => Step::Broken("a readable PNG chunk"),
    }
}

/// How boxes and chunks begin; `None` where there are fewer bytes.
fn size_and_name(bytes: &[u8]) -> Option<(u32, &[u8; 4])> {
    let (size, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*size), rest.first_chunk()?))
}

fn jpeg(state: &mut Jpeg, image: &mut bool, bytes: &[u8]) -> Step {
    /// A marker's code and the length of its segment, which counts itself.
    const SEGMENT: usize = 3;
    let within = if *image { Jpeg::Data } else { Jpeg::Marker };
    match (*state, bytes) {
        // Fill bytes may stand before a marker's code.
        (_, [0xff, ..]) => {
            *state = Jpeg::Code;
            Step::Skip(0)
        }
        (Jpeg::Marker | Jpeg::Data, _) => Step::Broken("a JPEG marker"),
        (Jpeg::Code, [0xd9, ..]) => Step::End,
        // Another file begins where this one was cut off.
        (Jpeg::Code, [0xd8, ..]) if *image => Step::Broken("the JPEG end marker"),
        // The start of the image, restarts, and stuffed bytes within image data.
        (Jpeg::Code, [0xd8 | 0x00 | 0xd0..=0xd7 | 0x01, ..]) => {
            *state = within;
            Step::Skip(0)
        }
        (Jpeg::Code, &[marker, first, second, ..]) => {
            let scan = marker == 0xda;
            *image |= scan;
            *state = if scan { Jpeg::Data } else { Jpeg::Marker };
            let length = u64::from(u16::from_be_bytes([first, second]));
            length.checked_sub(2).map_or(Step::Broken("a readable JPEG segment"), Step::Skip)
        }
        (Jpeg::Code, _) => Step::Gather(SEGMENT),
    }
}

fn ebml(live: &mut bool, any: &mut bool, bytes: &[u8]) -> Step {
    const SEGMENT: &[u8] = b"\x18\x53\x80\x67";
    const CLUSTER: &[u8] = b"\x1f\x43\xb6\x75";
    /// Ids have up to 4 bytes, sizes up to 8; the leading zeros of the first byte say how many.
    const ID_MAX: usize = 4;
    const SIZE_MAX: usize = 8;
    let id_length = bytes[0].leading_zeros() as usize + 1;
    if id_length > ID_MAX {
        return Step::Broken("a readable element");
    }
    let Some(first) = bytes.get(id_length) else { return Step::Gather(id_length + 1) };
    let size_length = first.leading_zeros() as usize + 1;
    if size_length > SIZE_MAX {
        return Step::Broken("a readable element");
    }
    let Some(size) = bytes.get(id_length..id_length + size_length) else {
        return Step::Gather(id_length + size_length);
    };
    let id = &bytes[..id_length];
    let mut marked = [0; SIZE_MAX];
    marked[SIZE_MAX - size_length..].copy_from_slice(size);
    let values = (1_u64 << (7 * size_length)) - 1;
    let size = u64::from_be_bytes(marked) & values;
    let unknown = size == values;
    *any |= id == CLUSTER;
    match (id, unknown) {
        // A live muxer does not know how long the segment and its clusters will be; their children follow.
        (SEGMENT, true) => {
            *live = true;
            Step::Skip(0)
        }
        (SEGMENT, false) => Step::SkipToEnd(size),
        (CLUSTER, true) if *live => Step::Skip(0),
        (_, true) => Step::Lost,
        (_, false) => Step::Skip(size),
    }
}

fn riff(bytes: &[u8]) -> Step {
    /// `RIFF`, the size of what follows, the form.
    const HEADER: usize = 12;
    /// The form and one chunk's header.
    const LEAST: u32 = 12;
    /// From here on a size is a mark: encoders that stream write the largest one that they can, less some headers.
    const MARK: u32 = 0x7fff_0000;
    if bytes.len() < HEADER {
        return Step::Gather(HEADER);
    }
    match u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) {
        // Encoders that stream do not know the size and leave a mark of it.
        0 | MARK.. => Step::Lost,
        size if size < LEAST => Step::Broken("a readable RIFF chunk"),
        size => Step::SkipToEnd(u64::from(size) - 4),
    }
}

fn glb(bytes: &[u8]) -> Step {
    const HEADER: usize = 12;
    if bytes.len() < HEADER {
        return Step::Gather(HEADER);
    }
    let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    length.checked_sub(12).map_or(Step::Broken("a readable glTF header"), |rest| Step::SkipToEnd(rest.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Completeness::{Cut, Untold, Whole};
    use proptest::prelude::*;

    fn completeness(bytes: &[u8]) -> Completeness {
        judge(bytes).completeness
    }

    fn is_cut(bytes: &[u8]) -> bool {
        matches!(completeness(bytes), Cut(_))
    }

    /// Whole as given, cut at every earlier byte, and still whole with anything behind it.
    fn is_whole_to_its_last_byte(bytes: &[u8]) {
        assert_eq!(completeness(bytes), Whole, "{bytes:?}");
        for end in 0..bytes.len() {
            let so_far = completeness(&bytes[..end]);
            assert_ne!(so_far, Whole, "cut at {end} of {}", bytes.len());
        }
        assert_eq!(completeness(&[bytes, b"behind it"].concat()), Whole);
        assert_eq!(completeness(&[bytes, &[0; 64]].concat()), Whole, "padded");
    }

    const GIF: &[u8] =
        b"GIF89a\x01\0\x01\0\x80\0\0abcdef\x21\xfe\x02hi\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02LZ\0\x3b";

    #[test]
    fn a_gif_ends_with_its_trailer() {
        is_whole_to_its_last_byte(GIF);
        is_whole_to_its_last_byte(
            b"GIF87a\x01\0\x01\0\0\0\0\x2c\0\0\0\0\x01\0\x01\0\x80abcdef\x02\x01L\0\0\x3b",
        );
        assert!(is_cut(b"GIF89a\x01\0\x01\0\0\0\0\x99\x3b"));
    }

    #[test]
    fn a_png_ends_with_its_end_chunk() {
        is_whole_to_its_last_byte(b"\x89PNG\r\n\x1a\n\0\0\0\x02IHDRxxcccc\0\0\0\0IENDcccc");
        assert!(is_cut(b"\x89PNG\r\n\x1a\n\0\0\0\x02\x01HDRxxcccc\0\0\0\0IENDcccc"));
    }

    #[test]
    fn a_jpeg_ends_with_its_end_marker_and_not_within_a_segment() {
        is_whole_to_its_last_byte(
            b"\xff\xd8\xff\xe0\0\x04\xff\xd9\xff\xff\xda\0\x03xdata\xff\0more\xff\xd3and\xff\xda\0\x02scan\xff\xd9",
        );
        assert!(is_cut(b"\xff\xd8\xff\xe0\0\x01\xff\xd9"));
        assert!(is_cut(b"\xff\xd8\xff\xe0\0\x02nothing"));
    }

    /// A progressive JPEG with notes of a camera: tables, a scan, more tables behind a fill byte, another scan.
    fn jpeg_of(scan: &[u8]) -> Vec<u8> {
        let jfif: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
        let exif = [b"\xff\xe1\x01\x04Exif".as_slice(), &[7; 0x0102 - 4]].concat();
        let frame = b"\xff\xc2\0\x0b\x08\0\x01\0\x01\x01\x01\x11\0";
        let first = [b"\xff\xc4\0\x05\0\0\0\xff\xda\0\x08\x01\x01\0\0\0\x01".as_slice(), scan].concat();
        let second =
            [b"\xff\xff\xc4\0\x05\x10\0\0\xff\xda\0\x08\x01\x01\0\x01\x05\0".as_slice(), scan].concat();
        [jfif, &exif, frame, &first, &second, b"\xff\xd9"].concat()
    }

    #[test]
    fn a_jpeg_is_followed_through_its_tables_and_scans() {
        is_whole_to_its_last_byte(&jpeg_of(b"data\xff\0more\xff\xd0and\xff\xff\xd7more\xff\0"));
    }

    #[test]
    fn a_jpeg_that_begins_again_within_its_image_data_is_cut() {
        // In overexposed sky much of the data is stuffed bytes.
        let sky = [0xff, 0].repeat(40_000);
        for data in [sky.clone(), [b"x".as_slice(), &sky].concat()] {
            let whole = jpeg_of(&data);
            let twice = [&whole[..whole.len() / 2], &whole].concat();
            assert_eq!((completeness(&whole), completeness(&twice)), (Whole, Cut("the JPEG end marker")));
        }
    }

    #[test]
    fn a_jpeg_may_have_any_number_of_fill_bytes_before_a_marker() {
        let fill = vec![0xff; 100_000];
        assert_eq!(completeness(&[b"\xff\xd8".as_slice(), &fill, b"\xd9"].concat()), Whole);
        assert!(is_cut(&[b"\xff\xd8".as_slice(), &fill].concat()));
    }

    fn mp4(boxes: &[&[u8]]) -> Vec<u8> {
        let mut file = b"\0\0\0\x10ftypisomxxxx".to_vec();
        for part in boxes {
            file.extend_from_slice(part);
        }
        file
    }

    #[test]
    fn an_mp4_has_its_header_its_media_and_whole_boxes() {
        let (moov, mdat): (&[u8], &[u8]) = (b"\0\0\0\x0amoovxx", b"\0\0\0\x0bmdatxyz");
        let large = b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x12xy".as_slice();
        for boxes in [[moov, mdat], [mdat, moov], [moov, large]] {
            let file = mp4(&boxes);
            assert_eq!(completeness(&file), Whole);
            // Before its first eight bytes nothing shows that it is an MP4.
            assert!((8..file.len()).all(|end| is_cut(&file[..end])), "{boxes:?}");
        }
        assert!(is_cut(&mp4(&[moov])) && is_cut(&mp4(&[mdat])) && is_cut(&mp4(&[])));
        assert_eq!(completeness(&mp4(&[moov, b"\0\0\0\0mdatwhatever"])), Untold);
        assert!(is_cut(&mp4(&[moov, b"\0\0\0\x07mdat"])));
        assert!(is_cut(&mp4(&[moov, b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f"])));
        assert!(is_cut(&mp4(&[moov, b"\0\0\0\x01mdat\xff\xff\xff\xff\xff\xff\xff\xff"])));
    }

    /// As streams are recorded: a header without samples, then fragments until the recording ends.
    #[test]
    fn a_fragmented_mp4_is_whole_where_its_index_closes_it_and_elsewhere_nothing_tells() {
        let moov = b"\0\0\0\x0amoovxx".as_slice();
        let fragment = b"\0\0\0\x0amoofxx".as_slice();
        let (mdat, mfra): (&[u8], &[u8]) = (b"\0\0\0\x0bmdatxyz", b"\0\0\0\x09mfrax");
        let free = b"\0\0\0\x08free".as_slice();
        let table: [(&[&[u8]], Completeness); 8] = [
            (&[moov, fragment, mdat, mfra], Whole),
            (&[moov, fragment, mdat, fragment, mdat, mfra, free], Whole),
            (&[moov, fragment, mdat], Untold),
            (&[moov, fragment, mdat, fragment, mdat], Untold),
            (&[moov, fragment, mdat, fragment], Untold),
            (&[moov, fragment, mdat, mfra, fragment, mdat], Untold),
            (&[moov, fragment], Cut("the media data (mdat)")),
            (&[moov, mdat], Whole),
        ];
        for (boxes, want) in table {
            assert_eq!(completeness(&mp4(boxes)), want, "{:?}", boxes.concat());
        }
        let file = mp4(&[moov, fragment, mdat, mfra]);
        assert!((1..mfra.len()).all(|missing| completeness(&file[..file.len() - missing]) != Whole));
    }

    #[test]
    fn a_few_bytes_behind_an_mp4_are_too_few_for_a_box_and_tell_nothing() {
        let (moov, mdat): (&[u8], &[u8]) = (b"\0\0\0\x0amoovxx", b"\0\0\0\x0bmdatxyz");
        for behind in 1..8 {
            assert_eq!(completeness(&mp4(&[moov, mdat, &b"\n\0\0\0\0\0\0"[..behind]])), Untold, "{behind}");
            assert!(is_cut(&mp4(&[moov, &mdat[..behind]])));
        }
        assert!(is_cut(&mp4(&[moov, mdat, b"\0\0\0\x09free"])), "a box that has begun");
        assert!(is_cut(&mp4(&[moov, mdat, b"\0\0\0\x01free\0"])), "a long header that has begun");
    }

    #[test]
    fn bytes_behind_a_whole_mp4_that_are_no_box_are_not_counted_against_it() {
        let (moov, mdat): (&[u8], &[u8]) = (b"\0\0\0\x0amoovxx", b"\0\0\0\x0bmdatxyz");
        let fragment = b"\0\0\0\x0amoofxx".as_slice();
        let table: [(&[u8], Completeness); 9] = [
            (b"forty-one bytes that some encoder has left", Untold),
            (&[0; 41], Untold),
            (&[0xff; 41], Untold),
            (b"\0\0\0\x07text", Untold),
            (b"\0\0\0\x01text\0\0", Untold),
            (b"\0\0\0\x01text\0\0\0\0\0\0\0\0", Untold),
            (b"\0\0\0\x0atextxx", Whole),
            (b"\0\0\0\x0atextxx\0\0\0\x09free", Cut("the end of a box")),
            (b"\0\0\0\x07free", Cut("a readable box")),
        ];
        for (behind, want) in table {
            assert_eq!(completeness(&mp4(&[moov, mdat, behind])), want, "{behind:?}");
            assert!(is_cut(&mp4(&[moov, behind])) && is_cut(&mp4(&[mdat, behind])), "{behind:?}");
        }
        let unknown = b"\0\0\0\x0atextxx".as_slice();
        let fragments = mp4(&[moov, fragment, mdat, unknown, fragment, mdat, b"\0\0\0\x09mfrax"]);
        assert_eq!(completeness(&fragments), Whole);
        assert!(is_cut(&mp4(&[moov, fragment, mdat, unknown, fragment, &mdat[..10]])));
    }

    #[test]
    fn a_webm_is_as_long_as_its_segment_says() {
        is_whole_to_its_last_byte(b"\x1a\x45\xdf\xa3\x85webm!\x18\x53\x80\x67\x84abcd");
        let live = b"\x1a\x45\xdf\xa3\x85webm!\x18\x53\x80\x67\xff\x1f\x43\xb6\x75\xff\xa3\x82ab\x1f\x43\xb6\x75\xff\xa3\x81a";
        assert_eq!(completeness(live), Untold);
        assert!(is_cut(&live[..live.len() - 1]));
        assert!(is_cut(b"\x1a\x45\xdf\xa3\x85webm!"));
        assert!(is_cut(b"\x1a\x45\xdf\xa3\x85webm!\0"));
        assert!(is_cut(b"\x1a\x45\xdf\xa3\x85webm!\x18\x53\x80\x67\xff"));
        assert_eq!(completeness(b"\x1a\x45\xdf\xa3\x85webm!\x18\x53\x80\x67\xff\xa3\xff"), Untold);
    }

    /// As ffmpeg writes it: room for the longest size is left, and the size filled in at the end.
    #[test]
    fn a_webm_may_write_its_sizes_in_eight_bytes() {
        let head =
            b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x07\x42\x82\x84webm\x18\x53\x80\x67\x01\0\0\0\0\0\x01\x2c";
        is_whole_to_its_last_byte(&[head.as_slice(), &[0xec; 0x012c]].concat());
    }

    /// As browsers record it: sizes are unknown, and marked so in eight bytes.
    #[test]
    fn a_recorded_webm_is_cut_only_within_an_element() {
        const UNKNOWN: &[u8] = b"\x01\xff\xff\xff\xff\xff\xff\xff";
        let head = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm";
        let block = [b"\xa3\x41\x00".as_slice(), &[7; 0x0100]].concat();
        let cluster = [b"\x1f\x43\xb6\x75", UNKNOWN, b"\xe7\x81\0", &block, &block].concat();
        let clusters = [cluster.as_slice(), &cluster].concat();
        let file =
            [head, b"\x18\x53\x80\x67".as_slice(), UNKNOWN, b"\x15\x49\xa9\x66\x81i", &clusters].concat();
        assert_eq!(completeness(&file), Untold);
        assert_eq!(completeness(&file[..file.len() - block.len()]), Untold);
        assert!((1..block.len()).all(|missing| is_cut(&file[..file.len() - missing])));
        // Where a client joins the stream late, nothing says what the clusters belong to.
        assert_eq!(completeness(&[head, clusters.as_slice()].concat()), Untold);
        // No size has a first byte of zeros.
        let zeros = [&file[..file.len() - block.len()], b"\xa3\0".as_slice(), &[0; 12]].concat();
        assert_eq!(completeness(&zeros), Cut("a readable element"));
    }

    #[test]
    fn riff_and_gltf_files_are_as_long_as_they_say() {
        is_whole_to_its_last_byte(b"RIFF\x10\0\0\0WAVEdata\x04\0\0\0abcd");
        is_whole_to_its_last_byte(b"RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0");
        assert_eq!(completeness(b"RIFF\xff\xff\xff\xffWAVEdata"), Untold);
        assert_eq!(completeness(b"RIFF\0\0\0\0WAVEdata"), Untold);
        for unknown in [0x7fff_0000_u32, 0x7fff_f024, 0x7fff_ffff, 0x8000_0000, 0xffff_0000] {
            let file = [b"RIFF".as_slice(), &unknown.to_le_bytes(), b"WAVEdata"].concat();
            assert_eq!(completeness(&file), Untold, "{unknown:#x}");
        }
        assert!(is_cut(b"RIFF\xff\xff\xfe\x7fWAVEdata"));
        assert!(is_cut(b"RIFF\x04\0\0\0WAVE"));
        is_whole_to_its_last_byte(b"glTF\x02\0\0\0\x10\0\0\0abcd");
        assert!(is_cut(b"glTF\x02\0\0\0\x0b\0\0\0"));
    }

    #[test]
    fn kinds_without_an_end_tell_nothing_and_nothing_is_never_whole() {
        assert_eq!(completeness(b"ID3\x04abc"), Untold);
        assert_eq!(completeness(b"whatever it is"), Untold);
        assert_eq!(judge(b""), Verdict { sniff: Sniff::Unknown, completeness: Cut("everything"), bytes: 0 });
    }

    #[test]
    fn the_head_is_judged_as_soon_as_it_is_here() {
        let mut walker = Walker::default();
        walker.feed(&[b'<'; SNIFF_BYTES - 1]);
        assert_eq!(walker.sniff(), None);
        // Chunks end where the network has them end.
        walker.feed(b"<<");
        assert_eq!(walker.sniff(), Some(Sniff::Text));
        let long =
            [GIF.split_at(GIF.len() - 1).0, &[0x21, 0xfe, 0xff], &[7; 255], &[0xff], &[7; 255], &[0, 0x3b]]
                .concat();
        let mut walker = Walker::new();
        for byte in &long {
            walker.feed(std::slice::from_ref(byte));
        }
        assert_eq!((walker.sniff(), walker.bytes), (Some(Sniff::Kind(MediaKind::Gif)), long.len() as u64));
        assert_eq!(walker.finish().completeness, Whole);
    }

    #[test]
    fn white_space_before_a_page_is_no_part_of_its_head() {
        let html = Sniff::NotMedia(super::super::NotMedia::Html);
        let wide = |text: &str| -> Vec<u8> {
            [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
        };
        let lines = "\r\n".repeat(3 * SNIFF_BYTES);
        for (before, sniffed) in [
            ([lines.as_bytes(), b"<html>gone".as_slice()].concat(), html),
            ([b"\xef\xbb\xbf".as_slice(), lines.as_bytes(), b"<html>"].concat(), html),
            (wide(&format!("{lines}<html>gone")), html),
            ([lines.as_bytes(), b"a fox"].concat(), Sniff::Text),
            // Behind white space nothing is where a container has it.
            ([lines.as_bytes(), GIF].concat(), Sniff::Unknown),
            (lines.clone().into_bytes(), Sniff::Unknown),
        ] {
            for behind in [0, SNIFF_BYTES, 5_000] {
                let file = [before.as_slice(), &b"x".repeat(behind)].concat();
                let verdict = judge(&file);
                assert_eq!((verdict.sniff, verdict.bytes), (sniffed, file.len() as u64), "{behind}");
                assert_eq!(verdict.completeness, Untold);
            }
        }
    }

    #[test]
    fn white_space_alone_is_blank_however_much_there_is_of_it() {
        let wide =
            |text: &str| [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let blanks = " ".repeat(5_000);
        let table: [(Vec<u8>, bool); 10] = [
            (b"\n".to_vec(), true),
            (b"\r\n\r\n".to_vec(), true),
            (b"\xef\xbb\xbf\t".to_vec(), true),
            (blanks.clone().into(), true),
            (blanks[..SNIFF_BYTES].into(), true),
            (wide(&blanks), true),
            // A second mark is no white space.
            (wide(&format!("\u{feff}{blanks}")), false),
            ([blanks.as_bytes(), b"x"].concat(), false),
            (b"x\n".to_vec(), false),
            (GIF.to_vec(), false),
        ];
        for (bytes, want) in table {
            let mut walker = Walker::new();
            walker.feed(&bytes);
            assert_eq!(walker.is_blank(), want, "{:?}", &bytes[..bytes.len().min(20)]);
        }
    }

    const MAGICS: &[&[u8]] = &[
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"\x1a\x45\xdf\xa3",
        b"RIFF....WEBP",
        b"RIFF....WAVE",
        b"glTF",
        b"....ftyp",
        b"\n",
        b"\xff\xfe\n\0",
        b"",
    ];

    proptest! {
        #[test]
        fn any_bytes_in_any_chunks_get_the_same_verdict(
            magic in 0..MAGICS.len(),
            tail in proptest::collection::vec(any::<u8>(), 0..2_000),
            cuts in proptest::collection::vec(1..700_usize, 1..40),
        ) {
            let bytes = [MAGICS[magic], &tail].concat();
            let mut walker = Walker::new();
            let (mut rest, mut cuts) = (bytes.as_slice(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (chunk, later) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                walker.feed(chunk);
                rest = later;
            }
            prop_assert_eq!(walker.finish(), judge(&bytes));
        }
    }
}
