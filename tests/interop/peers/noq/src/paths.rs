//! What noq says about the paths of one connection: counters and events, also of paths that are gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use noq::{Connection, Path, PathEvent, PathId, PathStats, PathStatus};
use tokio_stream::StreamExt;

use crate::{Outcome, MAX_PATHS};

/// Path IDs looked at: far more than the tests use.
const IDS: u32 = MAX_PATHS * 4;

#[derive(Default)]
struct Seen {
    /// Handles keep the counters of abandoned paths.
    handles: BTreeMap<PathId, Path>,
    gone: BTreeMap<PathId, PathStats>,
    events: Vec<String>,
}

#[derive(Clone)]
pub struct Paths {
    connection: Connection,
    seen: Arc<Mutex<Seen>>,
}

impl Paths {
    /// Watches the connection from now on.
    pub fn watch(connection: &Connection) -> Self {
        let paths = Self {
            connection: connection.clone(),
            seen: Arc::default(),
        };
        let (watcher, weak) = (paths.seen.clone(), connection.weak_handle());
        let mut events = connection.path_events();
        tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let Some(connection) = weak.upgrade() else {
                    return;
                };
                watcher.lock().unwrap().on_event(&connection, event);
            }
        });
        paths
    }

    pub fn find(&self, id: u32) -> Outcome<Path> {
        self.connection
            .path(PathId::from(id))
            .ok_or_else(|| format!("path {id} is not open").into())
    }

    pub fn keep(&self, path: Path) {
        self.seen.lock().unwrap().handles.insert(path.id(), path);
    }

    pub fn set_status(&self, id: u32, word: &str) -> Outcome<()> {
        let status = match word {
            "backup" => PathStatus::Backup,
            "available" => PathStatus::Available,
            _ => return Err(format!("{word} is not a path status").into()),
        };
        self.find(id)?.set_status(status)?;
        Ok(())
    }

    pub fn close(&self, id: u32) -> Outcome<()> {
        let path = self.find(id)?;
        self.keep(path.clone());
        Ok(path.close()?)
    }

    /// All counters as one line of JSON.
    pub fn json(&self) -> String {
        let seen = self.seen.lock().unwrap();
        let mut rows = Vec::new();
        for id in 0..IDS {
            let id = PathId::from(id);
            let open = self.connection.path(id);
            let stats = match (&open, seen.gone.get(&id), seen.handles.get(&id)) {
                (Some(path), _, _) => path.stats(),
                (None, Some(stats), _) => *stats,
                (None, None, Some(path)) => path.stats(),
                _ => continue,
            };
            rows.push(row(id, open.is_some(), &stats));
        }
        let events: Vec<String> = seen
            .events
            .iter()
            .map(|text| format!("\"{text}\""))
            .collect();
        format!(
            "{{\"multipath\":{},\"paths\":[{}],\"events\":[{}]}}",
            self.connection.is_multipath_enabled(),
            rows.join(","),
            events.join(",")
        )
    }
}

impl Seen {
    fn on_event(&mut self, connection: &Connection, event: PathEvent) {
        let text = match event {
            PathEvent::Established { id, .. } => {
                if let Some(path) = connection.path(id) {
                    self.handles.insert(id, path);
                }
                format!("established {}", id)
            }
            PathEvent::Abandoned { id, reason, .. } => {
                format!("abandoned {} {reason:?}", id)
            }
            PathEvent::Discarded { id, path_stats, .. } => {
                self.gone.insert(id, *path_stats);
                format!("discarded {}", id)
            }
            PathEvent::RemoteStatus { id, status, .. } => {
                format!("remote-status {} {status:?}", id)
            }
            _ => return,
        };
        self.events.push(text);
    }
}

fn row(id: PathId, is_open: bool, stats: &PathStats) -> String {
    format!(
        "{{\"id\":{id},\"isOpen\":{is_open},\"datagramsSent\":{},\"bytesSent\":{},\"datagramsReceived\":{},\
         \"bytesReceived\":{},\"streamFramesSent\":{},\"streamFramesReceived\":{},\"pathAcksSent\":{},\
         \"pathAcksReceived\":{},\"abandonsSent\":{},\"abandonsReceived\":{}}}",
        stats.udp_tx.datagrams,
        stats.udp_tx.bytes,
        stats.udp_rx.datagrams,
        stats.udp_rx.bytes,
        stats.frame_tx.stream,
        stats.frame_rx.stream,
        stats.frame_tx.path_acks,
        stats.frame_rx.path_acks,
        stats.frame_tx.path_abandon,
        stats.frame_rx.path_abandon,
    )
}
