//! `name=value` words of the command line.

use std::collections::HashMap;

pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub struct Arguments {
    pub role: String,
    values: HashMap<String, String>,
}

impl Arguments {
    pub fn parse() -> Outcome<Self> {
        let mut words = std::env::args().skip(1);
        let role = words.next().ok_or("usage: ROLE name=value …; see tests/bench/peers/README.md")?;
        let values = words
            .map(|word| match word.split_once('=') {
                Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                None => Err(format!("\"{word}\" is not of the form name=value")),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { role, values })
    }

    pub fn text(&self, name: &str) -> Outcome<&str> {
        Ok(self.values.get(name).ok_or_else(|| format!("{name}= is missing"))?)
    }

    pub fn number(&self, name: &str) -> Outcome<f64> {
        Ok(self.text(name)?.parse().map_err(|_| format!("{name}= is not a number"))?)
    }
}
