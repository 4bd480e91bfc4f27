//! Lists one resource over all namespaces, page by page, in bounded memory, whatever the server answers.
//! Knows nothing of what the objects are for.

use super::connect::Cluster;
use super::error::ClusterError;
use super::item::{Item, Rejected};
use super::pacing::Pacing;
use super::page::parse_page;
use super::resource::{Resource, percent};
use futures::Stream;
use jiff::Timestamp;
use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

/// How to list. The defaults suit a backup.
#[derive(Debug, Clone)]
pub struct ListOptions {
    pub start_limit: u32,
    pub max_limit: u32,
    /// Pages are kept to about this size.
    pub soft_bytes: usize,
    /// A page that grows beyond this is dropped and asked for again in smaller parts.
    pub hard_bytes: usize,
    /// The bound for a page of a single object.
    pub single_bytes: usize,
    /// A list longer than this is an endless one.
    pub max_objects: u64,
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self {
            start_limit: 500,
            max_limit: 5000,
            soft_bytes: 8 << 20,
            hard_bytes: 12 << 20,
            single_bytes: 32 << 20,
            max_objects: 20_000_000,
            label_selector: None,
            field_selector: None,
        }
    }
}

/// Pages without an item that are taken before a list counts as endless.
const MAX_EMPTY_PAGES: u32 = 1000;

/// One page.
#[derive(Debug)]
pub struct ListPage {
    pub items: Vec<Item>,
    pub rejected: Vec<Rejected>,
    /// The page's size on the wire; its items keep it in memory.
    pub bytes: usize,
}

/// What is known about a list, complete once the last page was handed out.
#[derive(Debug, Clone)]
pub struct ListSummary {
    /// The version that the list shows; of its first page if it is inconsistent.
    pub resource_version: String,
    pub started: Timestamp,
    pub objects: u64,
    pub rejected: u64,
    pub bytes: u64,
    pub pages: u64,
    /// The pages do not show one moment: the list had to be continued or begun again after it expired.
    pub inconsistent: bool,
}

/// A list under way.
#[derive(Debug)]
pub struct Lister {
    cluster: Cluster,
    resource: Arc<Resource>,
    options: ListOptions,
    pacing: Pacing,
    position: Position,
    seen_tokens: HashSet<u64>,
    hasher: RandomState,
    summary: ListSummary,
    empty_pages: u32,
    /// The last object handed out, and whether all came in the server's key order.
    last: Option<String>,
    ordered: bool,
    /// Set after a new beginning: what is not behind this key was handed out before.
    resume_after: Option<String>,
    restarted: bool,
}

#[derive(Debug, Clone)]
enum Position {
    Start,
    At(String),
    End,
}

/// Lists `resource` as a stream of pages.
pub fn list(
    cluster: &Cluster,
    resource: &Arc<Resource>,
    options: ListOptions,
) -> impl Stream<Item = Result<ListPage, ClusterError>> + Send + use<> {
    let lister = Lister::new(cluster.clone(), resource.clone(), options);
    futures::stream::try_unfold(lister, |mut lister| async move {
        Ok(lister.next_page().await?.map(|page| (page, lister)))
    })
}

impl Lister {
    #[must_use]
    pub fn new(cluster: Cluster, resource: Arc<Resource>, options: ListOptions) -> Self {
        let summary = ListSummary {
            resource_version: String::new(),
            started: cluster.now(),
            objects: 0,
            rejected: 0,
            bytes: 0,
            pages: 0,
            inconsistent: false,
        };
        Self {
            pacing: Pacing::new(options.start_limit, options.max_limit, options.soft_bytes),
            cluster,
            resource,
            options,
            position: Position::Start,
            seen_tokens: HashSet::new(),
            hasher: RandomState::new(),
            summary,
            empty_pages: 0,
            last: None,
            ordered: true,
            resume_after: None,
            restarted: false,
        }
    }

    #[must_use]
    pub fn summary(&self) -> &ListSummary {
        &self.summary
    }

    /// The next page, or `None` at the end.
    ///
    /// # Errors
    /// If the list cannot be completed; what was handed out before stays valid.
    pub async fn next_page(&mut self) -> Result<Option<ListPage>, ClusterError> {
        loop {
            if matches!(self.position, Position::End) {
                return Ok(None);
            }
            let limit = self.pacing.limit();
            let cap = if limit > 1 { self.options.hard_bytes } else { self.options.single_bytes };
            let request = self.cluster.get_request(&self.url(limit), "application/json")?;
            match self.cluster.request_bounded(request, cap).await {
                Ok(body) => {
                    let page = self.take_page(&body)?;
                    if !page.items.is_empty() || !page.rejected.is_empty() {
                        return Ok(Some(page));
                    }
                }
                Err(ClusterError::TooLarge { .. }) if self.pacing.cut() => {}
                Err(ClusterError::Status { code: 410, continue_token, message, .. }) => {
                    self.expired(continue_token.map(String::from), message)?;
                }
                Err(error) => {
                    let fewer = may_be_too_much(&error) && self.pacing.failed();
                    // A server that is silent altogether is not helped by smaller pages.
                    if !fewer || !self.cluster.alive().await {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn url(&self, limit: u32) -> String {
        let mut url = format!("{}?limit={limit}", self.resource.list_path());
        let token = match &self.position {
            Position::At(token) => Some(token),
            _ => None,
        };
        let fields = [
            ("continue", token),
            ("labelSelector", self.options.label_selector.as_ref()),
            ("fieldSelector", self.options.field_selector.as_ref()),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                url.push_str(&format!("&{name}={}", percent(value)));
            }
        }
        url
    }

    fn take_page(&mut self, body: &bytes::Bytes) -> Result<ListPage, ClusterError> {
        let what = format!("GET {}", self.resource.list_path());
        let parsed =
            parse_page(&self.resource, body).map_err(|cause| self.cluster.malformed(&what, &cause))?;
        self.pacing.arrived(parsed.items.len() + parsed.rejected.len(), body.len());
        self.advance(parsed.continue_token)?;
        if self.summary.resource_version.is_empty() {
            self.summary.resource_version = super::text::clean(&parsed.resource_version, 128);
        }
        self.summary.pages += 1;
        self.summary.bytes += body.len() as u64;
        let mut items = parsed.items;
        if let Some(after) = &self.resume_after {
            items.retain(|item| item.key().as_str() > after.as_str());
        }
        self.note_order(&items);
        self.summary.objects += items.len() as u64;
        self.summary.rejected += parsed.rejected.len() as u64;
        if self.summary.objects + self.summary.rejected > self.options.max_objects {
            return Err(self.endless("it holds too many objects"));
        }
        if items.is_empty() && parsed.rejected.is_empty() {
            self.empty_pages += 1;
            // A new beginning skips what was handed out before: those pages are not empty.
            if self.empty_pages > MAX_EMPTY_PAGES && self.resume_after.is_none() {
                return Err(self.endless("it sends empty pages"));
            }
        }
        Ok(ListPage { items, rejected: parsed.rejected, bytes: body.len() })
    }

    /// Moves on to the token that the page gave.
    fn advance(&mut self, token: Option<String>) -> Result<(), ClusterError> {
        let Some(token) = token else {
            self.position = Position::End;
            return Ok(());
        };
        if !self.seen_tokens.insert(self.hasher.hash_one(&token)) {
            return Err(self.endless("it sent the same continue token twice"));
        }
        self.position = Position::At(token);
        Ok(())
    }

    fn note_order(&mut self, items: &[Item]) {
        for item in items {
            let key = item.key();
            if self.last.as_ref().is_some_and(|last| *last >= key) {
                self.ordered = false;
            }
            self.last = Some(key);
        }
    }

    /// The server has forgotten the moment that the list shows.
    fn expired(&mut self, offered: Option<String>, cause: String) -> Result<(), ClusterError> {
        self.summary.inconsistent = true;
        if offered.is_some() && !matches!(self.position, Position::Start) {
            return self.advance(offered);
        }
        // Going on after the last key needs keys that came in order.
        if self.restarted || !self.ordered {
            let what = self.resource.key();
            return Err(ClusterError::Expired { what, server: self.cluster.server().to_owned(), cause });
        }
        self.restarted = true;
        self.resume_after.clone_from(&self.last);
        self.position = Position::Start;
        Ok(())
    }

    fn endless(&self, cause: &str) -> ClusterError {
        let (what, server) = (self.resource.key(), self.cluster.server().to_owned());
        ClusterError::Endless { what, server, cause: cause.to_owned() }
    }
}

/// A failure that fewer objects at a time may avoid.
fn may_be_too_much(error: &ClusterError) -> bool {
    matches!(error, ClusterError::TimedOut { .. } | ClusterError::Status { code: 500 | 504, .. })
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
