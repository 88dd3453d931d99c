//! Values, and small encoders that write them as the libraries do.

use std::fmt::Write;

use sessgate::session::identity::Format;

/// A value of any format. The keys of a map are different.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Real(f64),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

/// A way to write a value whose outermost part is a map.
pub struct Encoding {
    pub name: &'static str,
    pub format: Format,
    pub encode: fn(&Value) -> Vec<u8>,
}

pub const ENCODINGS: [Encoding; 11] = [
    Encoding { name: "json", format: Format::Json, encode: |value| json(value).to_string().into_bytes() },
    Encoding { name: "json, pretty", format: Format::Json, encode: |value| format!("{:#}", json(value)).into_bytes() },
    Encoding { name: "msgpack", format: Format::MessagePack, encode: message_pack },
    Encoding { name: "pickle 0", format: Format::Django, encode: |value| Pickler::new(0).whole(value) },
    Encoding { name: "pickle 2", format: Format::Django, encode: |value| Pickler::new(2).whole(value) },
    Encoding { name: "pickle 4", format: Format::Django, encode: |value| Pickler::new(4).whole(value) },
    Encoding { name: "pickle, zlib", format: Format::Django, encode: |value| zlib(&Pickler::new(4).whole(value)) },
    Encoding { name: "php_serialize", format: Format::Php, encode: php },
    Encoding { name: "php", format: Format::Php, encode: |value| php_variables(value, |name| format!("{name}|")) },
    Encoding {
        name: "php, wrapped",
        format: Format::Php,
        encode: |value| php(&Value::Text(String::from_utf8(php(value)).expect("our texts are"))),
    },
    Encoding { name: "ruby", format: Format::Ruby, encode: |value| Marshaller::default().whole(value) },
];

pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(bytes, 6)
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        Value::Real(value) => (*value).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Map(map) => map.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}

fn message_pack(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_message_pack(value, &mut out);
    out
}

/// The first byte of something short; or `long` and 32 bits of length.
fn head(out: &mut Vec<u8>, short: (u8, usize), long: u8, length: usize) {
    if length < short.1 {
        out.push(short.0 | u8::try_from(length).expect("it is short"));
    } else {
        out.push(long);
        out.extend(u32::try_from(length).expect("tests are small").to_be_bytes());
    }
}

fn write_message_pack(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(value) => out.push(0xc2 + u8::from(*value)),
        Value::Integer(value) => match (i8::try_from(*value), i32::try_from(*value)) {
            (Ok(value @ -32..), _) => out.extend(value.to_be_bytes()),
            (_, Ok(value)) => {
                out.push(0xd2);
                out.extend(value.to_be_bytes());
            }
            _ => {
                out.push(0xd3);
                out.extend(value.to_be_bytes());
            }
        },
        Value::Real(value) => {
            out.push(0xcb);
            out.extend(value.to_be_bytes());
        }
        Value::Text(text) => {
            head(out, (0xa0, 32), 0xdb, text.len());
            out.extend(text.as_bytes());
        }
        Value::List(list) => {
            head(out, (0x90, 16), 0xdd, list.len());
            for value in list {
                write_message_pack(value, out);
            }
        }
        Value::Map(map) => {
            head(out, (0x80, 16), 0xdf, map.len());
            for (key, value) in map {
                write_message_pack(&Value::Text(key.clone()), out);
                write_message_pack(value, out);
            }
        }
    }
}

/// A pickler that, as Python's, remembers every text and refers back to it.
struct Pickler {
    protocol: u8,
    out: Vec<u8>,
    texts: Vec<String>,
    remembered: usize,
}

impl Pickler {
    fn new(protocol: u8) -> Self {
        Self { protocol, out: Vec::new(), texts: Vec::new(), remembered: 0 }
    }

    fn whole(mut self, value: &Value) -> Vec<u8> {
        if self.protocol > 0 {
            self.out.extend([0x80, self.protocol]);
        }
        if self.protocol >= 4 {
            self.out.push(0x95);
            self.out.extend([0xff; 8]);
        }
        self.value(value);
        self.out.push(b'.');
        self.out
    }

    fn line(&mut self, kind: u8, text: &str) {
        self.out.push(kind);
        self.out.extend(text.as_bytes());
        self.out.push(b'\n');
    }

    fn text(&mut self, text: &str) {
        // Protocol 0 has texts with escapes of its own; here they stand as in protocol 1.
        let short = self.protocol >= 4 && text.len() < 256;
        if let Some(at) = self.texts.iter().position(|known| known == text) {
            return match self.protocol {
                0 => self.line(b'g', &at.to_string()),
                _ if at < 256 => self.out.extend([b'h', u8::try_from(at).expect("it is below")]),
                _ => {
                    self.out.push(b'j');
                    self.out.extend(u32::try_from(at).expect("tests are small").to_le_bytes());
                }
            };
        }
        if short {
            self.out.extend([0x8c, u8::try_from(text.len()).expect("it is short")]);
        } else {
            self.out.push(b'X');
            self.out.extend(u32::try_from(text.len()).expect("tests are small").to_le_bytes());
        }
        self.out.extend(text.as_bytes());
        self.texts.push(text.to_owned());
        match self.protocol {
            0 => self.line(b'p', &self.remembered.to_string()),
            1..4 => {
                self.out.push(b'r');
                self.out.extend(u32::try_from(self.remembered).expect("tests are small").to_le_bytes());
            }
            _ => self.out.push(0x94),
        }
        self.remembered += 1;
    }

    fn value(&mut self, value: &Value) {
        let old = self.protocol == 0;
        match value {
            Value::Null => self.out.push(b'N'),
            Value::Bool(value) if old => self.line(b'I', if *value { "01" } else { "00" }),
            Value::Bool(value) => self.out.push(0x89 - u8::from(*value)),
            Value::Integer(value) if old => self.line(b'L', &format!("{value}L")),
            Value::Integer(value) => {
                if let Ok(value) = i32::try_from(*value) {
                    self.out.push(b'J');
                    self.out.extend(value.to_le_bytes());
                } else {
                    self.out.extend([0x8a, 8]);
                    self.out.extend(value.to_le_bytes());
                }
            }
            Value::Real(value) if old => self.line(b'F', &value.to_string()),
            Value::Real(value) => {
                self.out.push(b'G');
                self.out.extend(value.to_be_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::List(list) if old => {
                self.out.extend(b"(l");
                for value in list {
                    self.value(value);
                    self.out.push(b'a');
                }
            }
            Value::List(list) => {
                self.out.extend(b"](");
                for value in list {
                    self.value(value);
                }
                self.out.push(b'e');
            }
            Value::Map(map) => {
                self.out.extend(if old { &b"(d"[..] } else { b"}(" });
                for (key, value) in map {
                    self.text(key);
                    self.value(value);
                    if old {
                        self.out.push(b's');
                    }
                }
                if !old {
                    self.out.push(b'u');
                }
            }
        }
    }
}

fn php(value: &Value) -> Vec<u8> {
    let mut out = String::new();
    write_php(value, &mut out);
    out.into_bytes()
}

fn php_variables(value: &Value, name: fn(&str) -> String) -> Vec<u8> {
    let Value::Map(map) = value else { panic!("a session of PHP is a map") };
    map.iter().flat_map(|(key, value)| [name(key).into_bytes(), php(value)].concat()).collect()
}

fn write_php(value: &Value, out: &mut String) {
    let written = match value {
        Value::Null => write!(out, "N;"),
        Value::Bool(value) => write!(out, "b:{};", u8::from(*value)),
        Value::Integer(value) => write!(out, "i:{value};"),
        Value::Real(value) => write!(out, "d:{value};"),
        Value::Text(text) => write!(out, "s:{}:\"{text}\";", text.len()),
        Value::List(list) => {
            write!(out, "a:{}:{{", list.len()).expect("a string takes all");
            for (at, value) in list.iter().enumerate() {
                write!(out, "i:{at};").expect("a string takes all");
                write_php(value, out);
            }
            write!(out, "}}")
        }
        Value::Map(map) => {
            write!(out, "a:{}:{{", map.len()).expect("a string takes all");
            for (key, value) in map {
                write_php(&Value::Text(key.clone()), out);
                write_php(value, out);
            }
            write!(out, "}}")
        }
    };
    written.expect("a string takes all");
}

/// Ruby's Marshal, with the encoding of every text, whose name it refers back to.
#[derive(Default)]
struct Marshaller {
    out: Vec<u8>,
    encoding_named: bool,
}

impl Marshaller {
    fn whole(mut self, value: &Value) -> Vec<u8> {
        self.out.extend([4, 8]);
        self.value(value);
        self.out
    }

    fn number(&mut self, value: i64) {
        match value {
            0 => self.out.push(0),
            1..=122 => self.out.extend(i8::try_from(value + 5).expect("it is small").to_le_bytes()),
            -123..=-1 => self.out.extend(i8::try_from(value - 5).expect("it is small").to_le_bytes()),
            _ => {
                let bytes = i32::try_from(value).expect("tests are small").to_le_bytes();
                self.out.push(if value < 0 { 0xfc } else { 4 });
                self.out.extend(bytes);
            }
        }
    }

    fn length(&mut self, length: usize) {
        self.number(i64::try_from(length).expect("tests are small"));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.out.extend(b"I\"");
        self.bytes(text.as_bytes());
        self.out.push(6);
        if self.encoding_named {
            self.out.extend(b";\0");
        } else {
            self.out.extend(b":\x06E");
            self.encoding_named = true;
        }
        self.out.push(b'T');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.out.push(b'0'),
            Value::Bool(value) => self.out.push(if *value { b'T' } else { b'F' }),
            // As Ruby does, the short form is for 31 bits.
            Value::Integer(value @ -0x4000_0000..0x4000_0000) => {
                self.out.push(b'i');
                self.number(*value);
            }
            Value::Integer(value) => {
                self.out.extend([b'l', if *value < 0 { b'-' } else { b'+' }]);
                self.length(4);
                self.out.extend(value.unsigned_abs().to_le_bytes());
            }
            Value::Real(value) => {
                self.out.push(b'f');
                self.bytes(value.to_string().as_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::List(list) => {
                self.out.push(b'[');
                self.length(list.len());
                for value in list {
                    self.value(value);
                }
            }
            Value::Map(map) => {
                self.out.push(b'{');
                self.length(map.len());
                for (key, value) in map {
                    self.text(key);
                    self.value(value);
                }
            }
        }
    }
}
