// SPDX-License-Identifier: Apache-2.0
//! A model of the kernel's side, with a hand in every step: for tests.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::Provider;
use crate::files::Files;

/// What another process, the host or a broken driver does when a file is used.
type Meddler = Box<dyn Fn(&mut State, Step<'_>) -> io::Result<()> + Send + Sync>;

/// A use of a file of an entry, before the kernel acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Make,
    Read(&'a str),
    Write(&'a str),
}

/// One entry, as `struct tsm_report_state` has it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Request {
    pub(crate) inblob: Vec<u8>,
    pub(crate) level: u8,
    pub(crate) written: u64,
    read: Option<(u64, Vec<u8>)>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) entries: HashMap<PathBuf, Request>,
    pub(crate) provider: Vec<u8>,
    /// `None`: the attribute does not exist.
    pub(crate) level_floor: Option<u8>,
    pub(crate) auxblob: Option<Vec<u8>>,
    /// Where a new entry's generation begins.
    pub(crate) start: u64,
    pub(crate) made: u32,
}

impl State {
    /// Writes `data` into every entry, as another process would.
    pub(crate) fn write_into_all(&mut self, data: &[u8]) {
        for request in self.entries.values_mut() {
            request.inblob = data.to_vec();
            request.written = request.written.wrapping_add(1);
        }
    }
}

/// configfs-tsm under `/tsm`. `make` makes a report from inblob and level.
pub(crate) struct TsmModel {
    state: Mutex<State>,
    make: fn(&[u8], u8) -> io::Result<Vec<u8>>,
    meddler: Meddler,
}

pub(crate) const FOLDER: &str = "/tsm";

impl TsmModel {
    pub(crate) fn new(provider: Provider, make: fn(&[u8], u8) -> io::Result<Vec<u8>>) -> Self {
        let (level_floor, auxblob) = match provider {
            Provider::SevGuest => (Some(0), Some(Vec::new())),
            Provider::TdxGuest => (None, None),
        };
        let provider = format!("{provider}\n").into_bytes();
        let entries = HashMap::new();
        let state = State { entries, provider, level_floor, auxblob, start: 0, made: 0 };
        Self { state: Mutex::new(state), make, meddler: Box::new(|_, _| Ok(())) }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut State)) -> Self {
        change(self.state.get_mut().unwrap());
        self
    }

    pub(crate) fn meddled(
        mut self,
        meddler: impl Fn(&mut State, Step<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.meddler = Box::new(meddler);
        self
    }

    /// How many entries were made, and how many are left.
    pub(crate) fn entries(&self) -> (u32, usize) {
        let state = self.state.lock().unwrap();
        (state.made, state.entries.len())
    }
}

impl Files for TsmModel {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        assert_eq!(path.parent(), Some(Path::new(FOLDER)), "an entry elsewhere");
        (self.meddler)(&mut state, Step::Make)?;
        let request = Request { written: state.start, ..Request::default() };
        assert!(state.entries.insert(path.to_owned(), request).is_none(), "a name twice");
        state.made += 1;
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.entries.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read(&self, path: &Path, cap: usize) -> io::Result<Option<Vec<u8>>> {
        let mut state = self.state.lock().unwrap();
        let (entry, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
        (self.meddler)(&mut state, Step::Read(name))?;
        let (provider, auxblob) = (state.provider.clone(), state.auxblob.clone());
        let request =
            state.entries.get_mut(entry).ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        let bytes = match name {
            "provider" => provider,
            "generation" => format!("{}\n", request.written).into_bytes(),
            "outblob" => match &request.read {
                _ if request.inblob.is_empty() => return Err(io::ErrorKind::InvalidInput.into()),
                Some((generation, report)) if *generation == request.written => report.clone(),
                _ => {
                    let report = (self.make)(&request.inblob, request.level)?;
                    request.read = Some((request.written, report.clone()));
                    report
                }
            },
            "auxblob" => auxblob.ok_or(io::Error::from(io::ErrorKind::NotFound))?,
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok((bytes.len() <= cap).then_some(bytes))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let (entry, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
        (self.meddler)(&mut state, Step::Write(name))?;
        let floor = state.level_floor;
        let request =
            state.entries.get_mut(entry).ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        match name {
            "inblob" => request.inblob = bytes.to_vec(),
            "privlevel" => {
                let floor = floor.ok_or(io::Error::from(io::ErrorKind::NotFound))?;
                let level = std::str::from_utf8(bytes).unwrap().parse().unwrap();
                if level < floor || level > 3 {
                    return Err(io::Error::from_raw_os_error(libc::EINVAL));
                }
                request.level = level;
            }
            _ => return Err(io::ErrorKind::PermissionDenied.into()),
        }
        request.written = request.written.wrapping_add(1);
        Ok(())
    }
}

impl fmt::Debug for TsmModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsmModel").field("state", &self.state).finish_non_exhaustive()
    }
}
