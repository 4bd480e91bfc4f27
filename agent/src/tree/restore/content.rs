//! Files and everything else that is no directory: what is there already, which names are links, and which pieces of
//! content a file needs, list by list where they are many.

use super::existing::Found;
use super::links::Role;
use super::node::Node;
use super::plan::Planner;
use super::work::hint;
use lifeboat_common::reader::{TreeEntry, reference_list};
use lifeboat_format::pack::Reference;
use rustix::io::Errno;
use std::sync::Arc;

impl Planner {
    /// Plans an entry of the directory `number`.
    pub(super) fn node(&mut self, number: u32, entry: TreeEntry) {
        let place = self.place(number);
        let name = entry.name().to_vec();
        if !self.directories.is_empty(number) {
            match self.shared.found(&place, &name, &entry.attributes) {
                Ok(Found::Nothing) => {}
                Ok(Found::Complete) => return self.complete(number, &name, &entry),
                Ok(Found::Other) => return self.shared.tally.left_alone(&self.placed(&entry.path)),
                Err(errno) => return self.unseen(&entry, errno),
            }
        }
        let a = &entry.attributes;
        let role = a.link.map(|link| self.links.note(link, number, &name, a, &entry.references));
        match role {
            Some(Role::Further) => {
                if self.links.is_full() {
                    self.make_links();
                }
            }
            Some(Role::Alone) => {
                self.shared.tally.change().links_as_copies += 1;
                self.file(number, &name, entry, None);
            }
            Some(Role::First) => {
                let link = entry.attributes.link;
                self.file(number, &name, entry, link);
            }
            None => self.file(number, &name, entry, None),
        }
    }

    fn complete(&mut self, number: u32, name: &[u8], entry: &TreeEntry) {
        let a = &entry.attributes;
        if let Some(link) = a.link {
            // Further names are linked to it; if it is one of them, nothing is to be done.
            if self.links.is_known(link) {
                return self.shared.tally.change().already_complete += 1;
            }
            self.links.note(link, number, name, a, &entry.references);
        }
        self.shared.tally.change().already_complete += 1;
        self.shared.tally.content(a.content_len());
    }

    fn unseen(&self, entry: &TreeEntry, errno: Errno) {
        let why = format!("Cannot look whether it is there: {}{}", std::io::Error::from(errno), hint(errno));
        self.shared.tally.failed(&self.placed(&entry.path), why);
    }

    /// Plans an entry as a file of its own; `first_of`: further names will be linked to it.
    pub(super) fn file(&mut self, number: u32, name: &[u8], entry: TreeEntry, first_of: Option<u64>) {
        let place = self.place(number);
        let node = Arc::new(Node::new(place, name, entry.attributes, first_of));
        self.shared.gate.begin(1);
        let mut at = 0;
        if entry.indirect {
            for list in &entry.references {
                match self.runtime.block_on(reference_list(self.tree.chunks(), list)) {
                    Ok(references) => self.pieces(&node, &references, &mut at),
                    Err(e) if e.is_damage() => self.shared.fail(&node, &e),
                    Err(e) => self.shared.stop.set(e.into()),
                }
                if node.is_over() || self.shared.stop.is_set() {
                    break;
                }
            }
        } else {
            self.pieces(&node, &entry.references, &mut at);
        }
        if at < node.attributes.content_len() {
            self.shared.fail(
                &node,
                &"Its chunks are shorter than its size says; the agent that wrote it is at fault",
            );
        }
        if node.is_last() {
            self.building.ready(node);
        }
        if self.building.is_full() {
            self.flush();
        }
    }

    /// Plans pieces of a file from `at` of its content on.
    fn pieces(&mut self, node: &Arc<Node>, references: &[Reference], at: &mut u64) {
        let several = references.len() > 1 || *at > 0;
        let mut number = None;
        for reference in references.iter().filter(|r| r.length > 0) {
            let length = u64::from(reference.length);
            if *at + length > node.attributes.content_len() {
                self.shared.fail(
                    node,
                    &"Its chunks are longer than its size says; the agent that wrote it is at fault",
                );
                return;
            }
            node.expect_piece();
            let in_window = *number.get_or_insert_with(|| self.building.node(node, several));
            self.building.piece(in_window, *at, reference);
            *at += length;
            if self.building.is_full() {
                self.flush();
                number = None;
                if self.shared.stop.is_set() {
                    return;
                }
            }
        }
    }

    /// Hands what is planned to those who fetch and write; waits while much is under way.
    pub(super) fn flush(&mut self) {
        let Some(mut window) = self.building.take() else { return };
        let permit = self.runtime.block_on(Arc::clone(&self.under_way).acquire_owned());
        window.permit = permit.ok();
        if self.windows.blocking_send(window).is_err() {
            self.shared.stop.set(super::error::RestoreError::Broken);
        }
    }
}
