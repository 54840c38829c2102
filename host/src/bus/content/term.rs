//! Which Erlang terms stand for JSON, and for which. Pure; reads bytes of strangers.
//!
//! An object is a tuple that holds one list of pairs; a list is an array; a binary is a string; numbers are
//! numbers; of atoms only `true`, `false`, `null` and `undefined` are known. A member whose value is
//! `undefined` is left out, as the original treats it as absent.

use crate::bus::Refusal;

/// How deep lists and objects may stand in each other; the depth that a JSON parser takes, too.
const MAX_DEPTH: usize = 120;
/// Numbers that do not fit 64 bits may have this many bytes.
const MAX_BIG: usize = 128;

const VERSION: u8 = 131;
const NEW_FLOAT: u8 = 70;
const COMPRESSED: u8 = 80;
const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const FLOAT: u8 = 99;
const ATOM: u8 = 100;
const SMALL_TUPLE: u8 = 104;
const NIL: u8 = 106;
const STRING: u8 = 107;
const LIST: u8 = 108;
const BINARY: u8 = 109;
const SMALL_BIG: u8 = 110;
const LARGE_BIG: u8 = 111;
const SMALL_ATOM: u8 = 115;
const ATOM_UTF8: u8 = 118;
const SMALL_ATOM_UTF8: u8 = 119;

/// The JSON text that a term in the external format stands for, at most `limit` bytes of it.
pub(super) fn to_json(term: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut reader = TermReader { rest: term, out: Vec::with_capacity(term.len().min(limit)), limit };
    let version = reader.byte()?;
    if version != VERSION {
        return Err(wrong(format_args!("it starts with byte {version}, not with {VERSION}")));
    }
    reader.value(0)?;
    match reader.rest.len() {
        0 => Ok(reader.out),
        left => Err(wrong(format_args!("{left} bytes follow the term"))),
    }
}

fn wrong(what: impl std::fmt::Display) -> Refusal {
    Refusal::Term(what.to_string())
}

struct TermReader<'a> {
    rest: &'a [u8],
    out: Vec<u8>,
    limit: usize,
}

impl<'a> TermReader<'a> {
    fn value(&mut self, depth: usize) -> Result<(), Refusal> {
        if depth > MAX_DEPTH {
            return Err(wrong(format_args!("it is nested deeper than {MAX_DEPTH}")));
        }
        match self.byte()? {
            SMALL_INTEGER => {
                let number = self.byte()?;
                self.write(number.to_string().as_bytes())
            }
            INTEGER => {
                let number = i32::from_be_bytes(self.array()?);
                self.write(number.to_string().as_bytes())
            }
            SMALL_BIG => {
                let length = usize::from(self.byte()?);
                self.big(length)
            }
            LARGE_BIG => {
                let length = self.length()?;
                self.big(length)
            }
            NEW_FLOAT => {
                let number = f64::from_be_bytes(self.array()?);
                self.float(number)
            }
            FLOAT => self.old_float(),
            BINARY => {
                let text = self.binary()?;
                self.string(text)
            }
            NIL => self.write(b"[]"),
            STRING => self.small_integers(),
            LIST => self.list(depth),
            SMALL_TUPLE => self.object(depth),
            tag => match self.atom(tag)? {
                "true" => self.write(b"true"),
                "false" => self.write(b"false"),
                "null" | "undefined" => self.write(b"null"),
                other => Err(wrong(format_args!("the atom {other:?} stands for nothing in json"))),
            },
        }
    }

    /// `tag` was read and is expected to be one of the atoms'.
    fn atom(&mut self, tag: u8) -> Result<&'a str, Refusal> {
        let length = match tag {
            ATOM | ATOM_UTF8 => usize::from(u16::from_be_bytes(self.array()?)),
            SMALL_ATOM | SMALL_ATOM_UTF8 => usize::from(self.byte()?),
            COMPRESSED => return Err(wrong("compressed terms are not taken; gzip the body instead")),
            tag => {
                return Err(wrong(format_args!("a term of tag {tag} stands for nothing in json")));
            }
        };
        let name = self.take(length)?;
        std::str::from_utf8(name).map_err(|_| wrong("an atom is not utf-8"))
    }

    fn object(&mut self, depth: usize) -> Result<(), Refusal> {
        let arity = self.byte()?;
        if arity != 1 {
            return Err(wrong(format_args!("a tuple of {arity} stands for nothing; an object is one of 1")));
        }
        let members = match self.byte()? {
            NIL => return self.write(b"{}"),
            LIST => self.length()?,
            tag => {
                return Err(wrong(format_args!("an object holds a term of tag {tag}, not a list of pairs")));
            }
        };
        self.write(b"{")?;
        let mut first = true;
        for _ in 0..members {
            let before = self.out.len();
            if !first {
                self.write(b",")?;
            }
            if self.member(depth)? {
                first = false;
            } else {
                self.out.truncate(before);
            }
        }
        self.end_of_list()?;
        self.write(b"}")
    }

    /// Writes key and value; `false` when the value is `undefined`, so that what was written is to be undone.
    fn member(&mut self, depth: usize) -> Result<bool, Refusal> {
        if self.byte()? != SMALL_TUPLE || self.byte()? != 2 {
            return Err(wrong("a member of an object is not a pair"));
        }
        let key = match self.byte()? {
            BINARY => self.binary()?,
            tag => self.atom(tag)?,
        };
        self.string(key)?;
        self.write(b":")?;
        let value = self.out.len();
        let before = self.rest;
        self.value(depth + 1)?;
        Ok(&self.out[value..] != b"null" || !is_undefined(before))
    }

    fn list(&mut self, depth: usize) -> Result<(), Refusal> {
        let length = self.length()?;
        self.write(b"[")?;
        for index in 0..length {
            if index > 0 {
                self.write(b",")?;
            }
            self.value(depth + 1)?;
        }
        self.end_of_list()?;
        self.write(b"]")
    }

    fn end_of_list(&mut self) -> Result<(), Refusal> {
        match self.byte()? {
            NIL => Ok(()),
            _ => Err(wrong("a list has a tail")),
        }
    }

    /// A list of numbers up to 255 is written as if it were a text, though texts are binaries here.
    fn small_integers(&mut self) -> Result<(), Refusal> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let numbers = self.take(length)?;
        self.write(b"[")?;
        for (index, number) in numbers.iter().enumerate() {
            if index > 0 {
                self.write(b",")?;
            }
            self.write(number.to_string().as_bytes())?;
        }
        self.write(b"]")
    }

    fn big(&mut self, length: usize) -> Result<(), Refusal> {
        if length > MAX_BIG {
            return Err(wrong(format_args!("a number has {length} bytes; at most {MAX_BIG} are taken")));
        }
        let sign = self.byte()?;
        let digits = decimal(self.take(length)?);
        if sign != 0 && digits != b"0" {
            self.write(b"-")?;
        }
        self.write(&digits)
    }

    fn old_float(&mut self) -> Result<(), Refusal> {
        let text = self.take(31)?;
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let number = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
        self.float(number.ok_or_else(|| wrong("a float is not a number"))?)
    }

    fn float(&mut self, number: f64) -> Result<(), Refusal> {
        let number = serde_json::Number::from_f64(number).ok_or_else(|| wrong("a float is not finite"))?;
        self.write(number.to_string().as_bytes())
    }

    fn binary(&mut self) -> Result<&'a str, Refusal> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| wrong("a binary is not utf-8"))
    }

    fn string(&mut self, text: &str) -> Result<(), Refusal> {
        self.check_room(text.len())?;
        serde_json::to_writer(&mut self.out, text).map_err(wrong)?;
        self.check_room(0)
    }

    fn write(&mut self, json: &[u8]) -> Result<(), Refusal> {
        self.out.extend_from_slice(json);
        self.check_room(0)
    }

    fn check_room(&self, more: usize) -> Result<(), Refusal> {
        if self.out.len() + more > self.limit {
            return Err(Refusal::TooLarge { limit: self.limit });
        }
        Ok(())
    }

    fn length(&mut self) -> Result<usize, Refusal> {
        let length = u32::from_be_bytes(self.array()?);
        usize::try_from(length).map_err(wrong)
    }

    fn byte(&mut self) -> Result<u8, Refusal> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| wrong("it ends too early"))?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Refusal> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(|| wrong("it ends too early"))?;
        self.rest = rest;
        Ok(head)
    }
}

fn is_undefined(term: &[u8]) -> bool {
    let mut reader = TermReader { rest: term, out: Vec::new(), limit: 0 };
    reader.byte().and_then(|tag| reader.atom(tag)).is_ok_and(|name| name == "undefined")
}

/// Decimal digits of a number that is written in base 256, lowest first.
fn decimal(base256: &[u8]) -> Vec<u8> {
    let mut digits = vec![0_u8]; // lowest first
    for byte in base256.iter().rev() {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) * 256;
            *digit = u8::try_from(carry % 10).unwrap_or_default();
            carry /= 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).unwrap_or_default());
            carry /= 10;
        }
    }
    while digits.len() > 1 && digits.last() == Some(&0) {
        digits.pop();
    }
    digits.iter().rev().map(|digit| digit + b'0').collect()
}

#[cfg(test)]
mod tests;
