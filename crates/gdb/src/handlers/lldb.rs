//! Packets that only lldb sends.

use super::Family;
use crate::reply::Reply;
use crate::session::Client;

pub(super) const PACKETS: Family = &[("QThreadSuffixSupported", |session, _| {
    session.client = Client::Lldb;
    Reply::ok()
})];
