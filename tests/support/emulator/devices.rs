//! The devices on the bus: their identity, state and answers.
//!
//! Type codes, serials and replies are those of the protocol; the link numbers beyond those of the XP24 and
//! the XP33LR are made up.

use super::super::telegram::{
    self, ACK, ACTION, BROADCAST, DISCOVERY, Event, Message, NAK, READ_DATAPOINT,
};

const DOWNLOAD_TABLE: u8 = 13;
const END_OF_TABLE: u8 = 16;
const TABLE_DATA: u8 = 17;

/// The action table of an unprogrammed XP24.
const EMPTY_TABLE: &str = "AAAAAAAAAAAAAAAAAAAAAMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Serial, type, type code, link, relays, dimmers.
const CATALOGUE: [(u64, &str, u8, u8, usize, usize); 8] = [
    (1_013_010_000, "XP130", 13, 0, 0, 0),
    (1_123_010_001, "XP230", 34, 0, 0, 0),
    (1_202_010_002, "XP20", 33, 2, 0, 0),
    (1_302_410_003, "XP24", 7, 1, 4, 0),
    (1_420_330_004, "XP33", 11, 3, 0, 3),
    (1_520_331_005, "XP33LR", 30, 4, 0, 3),
    (1_620_332_006, "XP33LED", 35, 5, 0, 3),
    (1_702_033_007, "CP20", 2, 0, 0, 0),
];

/// The effects of a request.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Each group is sent in one write, followed by a line end.
    pub(super) groups: Vec<Vec<u8>>,
    /// The device begins to repeat this reply.
    pub(super) storm: Option<(u64, Vec<u8>)>,
    /// The device ends its storm.
    pub(super) end_storm: Option<u64>,
}

/// All devices behind one bridge.
#[derive(Debug)]
pub(super) struct Devices(Vec<Device>);

#[derive(Debug)]
struct Device {
    serial: u64,
    name: &'static str,
    code: u8,
    link: u8,
    relays: Vec<bool>,
    dimmers: Vec<u8>,
    /// In tenths of a degree Celsius.
    temperature: i32,
    last_reply: Option<Vec<u8>>,
    table_sent: bool,
    storming: bool,
}

impl Devices {
    pub(super) fn new() -> Self {
        Self(
            CATALOGUE
                .map(|(serial, name, code, link, relays, dimmers)| Device {
                    serial,
                    name,
                    code,
                    link,
                    relays: vec![false; relays],
                    dimmers: vec![0; dimmers],
                    temperature: 235,
                    last_reply: None,
                    table_sent: false,
                    storming: false,
                })
                .into(),
        )
    }

    /// Sets the measured temperature of a device; false if there is no such device.
    pub(super) fn set_temperature(&mut self, serial: u64, tenths: i32) -> bool {
        let device = self.0.iter_mut().find(|device| device.serial == serial);
        device.map(|device| device.temperature = tenths).is_some()
    }

    /// Makes a device repeat its last reply; `None` if it has not replied yet.
    pub(super) fn storm(&mut self, serial: u64) -> Option<Vec<u8>> {
        let device = self.0.iter_mut().find(|device| device.serial == serial)?;
        let reply = device.last_reply.clone()?;
        device.storming = true;
        Some(reply)
    }

    pub(super) fn answer(&mut self, request: &Message) -> Answer {
        let mut answer = Answer::default();
        if request.serial == BROADCAST {
            // Only read requests are broadcast; actions need an address.
            if matches!(request.function, DISCOVERY | READ_DATAPOINT) {
                for device in &mut self.0 {
                    device.answer(request, &mut answer);
                }
            }
        } else if let Some(device) = self.0.iter_mut().find(|d| d.serial == request.serial) {
            device.answer(request, &mut answer);
        }
        answer
    }
}

impl Device {
    fn answer(&mut self, request: &Message, answer: &mut Answer) {
        match request.function {
            DISCOVERY => answer.groups.push(self.reply(DISCOVERY, "")),
            READ_DATAPOINT => self.read(request, answer),
            DOWNLOAD_TABLE if self.name == "XP24" => {
                self.table_sent = true;
                let mut group = self.reply(ACK, "");
                group.extend(self.reply(TABLE_DATA, EMPTY_TABLE));
                answer.groups.push(group);
            }
            ACK if self.table_sent => {
                self.table_sent = false;
                answer.groups.push(self.reply(END_OF_TABLE, ""));
            }
            ACTION => {
                let group = match self.act(request) {
                    None => self.reply(NAK, ""),
                    Some(event) => {
                        let mut group = self.reply(ACK, "");
                        group.extend(event.into_iter().flat_map(Event::to_frame));
                        group
                    }
                };
                answer.groups.push(group);
            }
            _ => {}
        }
    }

    fn reply(&self, function: u8, data: &str) -> Vec<u8> {
        telegram::reply(self.serial, function, data)
    }

    fn read(&mut self, request: &Message, answer: &mut Answer) {
        let Some(datapoint) = request.datapoint() else {
            return;
        };
        if datapoint == 99 {
            if let Some(reply) = self.last_reply.clone() {
                self.storming = true;
                answer.storm = Some((self.serial, reply));
            }
            return;
        }
        let Some(value) = self.value(datapoint) else {
            return;
        };
        if datapoint == 10 && self.storming {
            self.storming = false;
            answer.end_storm = Some(self.serial);
        }
        let reply = self.reply(READ_DATAPOINT, &format!("{datapoint:02}{value}"));
        self.last_reply = Some(reply.clone());
        answer.groups.push(reply);
    }

    fn value(&self, datapoint: u8) -> Option<String> {
        let channels = self.relays.len() + self.dimmers.len();
        Some(match datapoint {
            0 => self.name.to_owned(),
            2 => format!("{}_V0.34.03", self.name),
            3 => format!("{:010}", self.serial),
            4 => format!("{:02}", self.link),
            7 => format!("{:02}", self.code),
            9 => {
                let on = self.relays.contains(&true) || self.dimmers.iter().any(|level| *level > 0);
                if on { "ON" } else { "OFF" }.to_owned()
            }
            10 => if self.storming { "FE" } else { "00" }.to_owned(),
            12 if !self.relays.is_empty() => {
                let states = self.relays.iter().map(|on| if *on { '1' } else { '0' });
                "xxxx".chars().chain(states).collect()
            }
            15 if channels > 0 => {
                let relays = self.relays.iter().map(|on| if *on { 100 } else { 0 });
                list(relays.chain(self.dimmers.iter().copied()), "[%]")
            }
            16 if channels > 0 => list(std::iter::repeat_n(0, channels), "[H]"),
            18 => {
                let sign = if self.temperature < 0 { '-' } else { '+' };
                let size = self.temperature.abs();
                format!("{sign}{},{}§C", size / 10, size % 10)
            }
            20 => "+12,5§V".to_owned(),
            _ => return None,
        })
    }

    /// `None`: refused. `Some(None)`: unchanged, so no event.
    #[allow(
        clippy::option_option,
        reason = "refused and without event are two answers, and both are used up at one place"
    )]
    fn act(&mut self, request: &Message) -> Option<Option<Event>> {
        let output = request.datapoint()?;
        let index = usize::from(output);
        let (changed, on) = if let Some(relay) = self.relays.get_mut(index) {
            let on = match request.value() {
                "AB" => true,
                "AA" => false,
                _ => return None,
            };
            (std::mem::replace(relay, on) != on, on)
        } else {
            let dimmer = self.dimmers.get_mut(index)?;
            let level = request.value().strip_prefix(':')?;
            if level.len() != 3 || !level.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let level = level.parse().ok().filter(|level| *level <= 100)?;
            (std::mem::replace(dimmer, level) != level, level > 0)
        };
        Some(changed.then_some(Event {
            origin: 'E',
            module_type: self.code,
            link: self.link,
            input: output,
            make: on,
        }))
    }
}

/// `00:000[%],01:000[%]`
fn list(values: impl Iterator<Item = u8>, unit: &str) -> String {
    let entries: Vec<String> = values
        .enumerate()
        .map(|(number, value)| format!("{number:02}:{value:03}{unit}"))
        .collect();
    entries.join(",")
}
