//! Owns the model test of the rules of commit, reuse and collect: `docs/format.md`, "Commit and reuse", rules 1 to 5. It is a
//! pure state machine of the rules, without any of the programs, explored breadth first over small bounds and by seeded
//! random walks over larger ones. Change a word of the rules only together with this model.
//!
//! Three invariants are asserted, each in every state of the parts that could break it:
//!
//! 1. No manifest that is kept names a deleted pack. Along the way: no slot is committed twice, and no pack is deleted that
//!    the next manifest may still reuse.
//! 2. A verified snapshot has all its packs in the vault until it is tombstoned.
//! 3. No snapshot leaves both sides against the policy.
//!
//! Each sentence of the rules is a parameter with the rule as decided and at least one weaker reading, and for each weaker
//! reading there is a test that the exploration finds the violation, so the model is known to have teeth. The two readings that
//! another rule makes up for are marked in the table.
//!
//! | Rule | Sentence | Parameter | Weaker reading that breaks it |
//! |---|---|---|---|
//! | 1 | The conditional create decides every race; no manifest object is ever deleted from the primary | `primary::Forgetting` | deleted manifests reopen their slots |
//! | 1 | On 412 redo rule 2 *and* rule 3 | `primary::AfterConflict` | freshness was tested before the head was read |
//! | 1 | No slot is left free by choice, junk included | `adopt::SlotChoice` | above the highest, when junk leaves a hole |
//! | 2 | Packs that an attempt of its run uploaded and that are fresh; having named a pack before gives no right | `primary::OwnPacks` | once named in time, named for ever |
//! | 2 | One of the three manifests reached by `prev` links | `primary::Rules::agent_window` | wider than what the collector spares |
//! | 2 | Checkpoints count | `primary::Rules::checkpoints_count` | agents skip them, the collector does not |
//! | 2 | A new agent key reuses nothing of the old one | `adopt::ReuseAcrossKeys` | from `from`; from the second manifest on |
//! | 3 | The time noted before the first attempt; a retry never renews it | `primary::Freshness::RenewedByRetry` | age from the last acknowledgment |
//! | 3 | All times are the store's | `primary::Freshness::OwnClock` | own clock, a day behind |
//! | 3 | Last-Modified of the newest object under `manifests/`, valid or not | `adopt::AgeAgainst` | the own head; the slot below, when junk leaves a hole |
//! | 3 | Each carry entry's time is copied unchanged and dropped after 14 days | `carry::CarryStamp` | renewed by each manifest |
//! | 3 | Others carry the head's carry; a checkpoint after two foreign manifests | `carry::LongRun` | neither |
//! | 4 | Every seq up to H fetched and judged | `adopt::Rules::every_slot_judged` | gaps below H |
//! | 4 | Freeze under an unknown charter | `adopt::Rules::freeze_while_charter_unknown` | collecting goes on |
//! | 4 | Last-Modified(H) ≥ Last-Modified(pack) + 48 h; two passes are a second belt only | `primary::Rules::fence`, `two_passes` | two passes and a lagging vault |
//! | 4 | No manifest of the chain without a `forgotten/` marker needs it | `retention::KeptOnPrimary` | kept means kept in the vault |
//! | 4 | What the vault keeps goes only while the vault holds it undamaged | `retention::Rules::intact_copy_needed` | no such look |
//! | 4 | A vault made anew has not judged every seq | `retention::Rules::unknown_manifests_freeze` | unknown is not needed |
//! | 5 | `pending/<seq>` with the pack names, after the pack lists | `vault::Rules::pending_names_packs` | before they are known (costs a pull its work, not an invariant) |
//! | 5 | The lock shared from the last existence check to the rename | `vault::Rules::last_look_under_lock` | what was seen before is believed |
//! | 5 | `collect` re-reads under the exclusive lock in each batch | `vault::Rules::kept_read_again_under_lock` | kept is computed once |
//! | 5 | One host per vault | `vault::Rules::common_lock` | two hosts |
//! | 5 | An S3 vault is versioned; batches are recorded and repeated | `vault::Store::S3` | either one missing |
//! | 5 | The primary forgets what the vault holds verified with nothing damaged | `retention::PrimaryForgets` | verified on arrival (only when no undamaged copy is asked for either) |
//! | 5 | Tombstones lost with a vault are taken from `forgotten/` as a hint | `retention::MarkerSeenByNewVault` | the marker is as good as the tombstone |
//!
//! Four sentences are read strictly here, because the exploration breaks the wider reading:
//!
//! - What a new agent key may not reuse holds for all its manifests, not only for its first: reuse never follows a `prev` link
//!   to a manifest of another key (`reuse_across_keys_from_the_second_manifest_on_breaks_it`).
//! - When junk left a hole below the highest object, the next manifest goes into the hole: the lowest free slot
//!   (`slots_above_the_highest_break_it_when_junk_leaves_a_hole`).
//! - "Newest object under `manifests/`" is the one with the latest Last-Modified, which is not always the one just below
//!   (`age_against_the_slot_below_breaks_it_when_junk_leaves_a_hole`).
//! - A `forgotten/` marker seen by a new vault stops a pull only when the packs are gone from the primary too
//!   (`markers_taken_for_tombstones_by_a_new_vault_break_it`).
//!
//! Everything happens at any time and nothing has to happen: pauses, crashes, lost logs, lag and stale listings are paths like
//! others (see `explore::Model`). Not covered: liveness; a store clock that steps back (the rules leave 24 h for it, the clock
//! here never does); and the parts combined: `primary`, `adopt`, `vault` and `retention` are explored each on its own.
//!
//! `LIFEBOAT_MODEL=full` explores larger bounds and walks ten times as often; it takes some minutes and a few GB of memory.

mod adopt;
mod adopt_steps;
mod adopt_tests;
mod carry;
mod explore;
mod primary;
mod primary_steps;
mod primary_tests;
mod retention;
mod retention_tests;
mod vault;
mod vault_steps;
mod vault_tests;
mod walks;
