//! Slots of the root keys: listed, added, tested, retired. For the operator of the installation alone.

use jiff::Timestamp;
use nsl_core::Caller;
use nsl_core::db::{Audit, AuditResult, UnitOfWork};
use nsl_core::http::{Answer, Once};
use nsl_core::ids::TenantId;
use nsl_core::ports::{SecurityEvent, Severity};
use nsl_crypto::key::Key256;
use serde::Serialize;
use uuid::Uuid;

use super::open::add_slot;
use super::slot::{Opener, Tried, name};
use crate::Result;
use crate::actions::{LOGIN, Sgx};
use crate::domain::slot::{OpenSlot, Retirement, SlotKind, retire};
use crate::error::{Error, RootError};
use crate::store::roots as store;

/// A slot as it is told: without what it holds.
pub(crate) struct SlotInfo {
    pub id: Uuid,
    pub root_key_id: Vec<u8>,
    /// `active`, `superseded` or `retired`: of the root key.
    pub root_state: String,
    pub kind: String,
    pub opener_id: Vec<u8>,
    pub label: Option<String>,
    /// `active` or `retired`: of the slot.
    pub state: String,
    /// Whether this process has the key.
    pub at_hand: bool,
    pub created_at: Timestamp,
    pub tested_at: Option<Timestamp>,
    pub retired_at: Option<Timestamp>,
}

/// A slot to be made.
pub(crate) struct NewSlot {
    pub kind: SlotKind,
    /// Only for a key that an operator keeps.
    pub key: Option<Key256>,
    pub label: Option<String>,
}

impl Sgx {
    pub(crate) async fn slots(&self, caller: &Caller) -> Result<Vec<SlotInfo>> {
        self.operator(caller, "LIST_SLOTS", "slots").await?;
        let read = self.db.global(LOGIN);
        let (roots, slots) = (store::roots(&read).await?, store::slots(&read).await?);
        let entry = Audit::new("sgx", "LIST_SLOTS", "root_slot", "slots", AuditResult::Success);
        self.audits.record(caller, entry).await?;
        Ok(slots.into_iter().map(|slot| self.told(slot, &roots)).collect())
    }

    /// Wraps every root key that is in use under a further key.
    pub(crate) async fn add_slot<V: Serialize>(
        &self,
        caller: &Caller,
        new: NewSlot,
        once: &Once,
        view: impl Fn(SlotInfo) -> V,
    ) -> Result<Answer<V>, nsl_core::ApiError> {
        self.operator(caller, "ADD_SLOT", "slots").await?;
        let outcome = self.add_slot_once(caller, new, once, view).await;
        if let Err(error) = &outcome {
            self.refused(caller, "ADD_SLOT", "slots", &error.detail).await?;
        }
        outcome
    }

    async fn add_slot_once<V: Serialize>(
        &self,
        caller: &Caller,
        new: NewSlot,
        once: &Once,
        view: impl Fn(SlotInfo) -> V,
    ) -> Result<Answer<V>, nsl_core::ApiError> {
        let ring = self.keys.root();
        let given = match (new.kind, new.key) {
            (SlotKind::Configured, Some(key)) => Some(Opener::new(SlotKind::Configured, &key)),
            (SlotKind::Configured, None) => return Err(Error::from(RootError::KeyNotAtHand).into()),
            (_, Some(_)) => return Err(Error::from(RootError::KeyNotTaken).into()),
            (_, None) => None,
        };
        let opener = match &given {
            Some(opener) => opener,
            None => ring.platform_opener(new.kind).ok_or(Error::Root(RootError::NoPlatformKey))?,
        };
        ring.reload().await?;
        let mut work = self.db.begin(LOGIN, caller).await?;
        if let Some(before) = once.replay(&work, caller).await? {
            return Ok(Answer::Replayed(before));
        }
        let roots = store::lock_roots(&work).await?;
        let slots = store::slots(&work).await?;
        let mut made = None;
        for stored in roots.iter().filter(|root| root.state != "retired") {
            let active = stored.state == "active";
            let has = slots.iter().any(|slot| {
                slot.state == "active" && slot.root_key_id == stored.root_key_id && opener.fits(slot)
            });
            if has && active {
                return Err(Error::from(RootError::SlotExists).into());
            }
            // A superseded root key that no key at hand opens gets no further slot.
            let Some(root) = ring.root(&stored.root_key_id).filter(|_| !has) else { continue };
            let slot = add_slot(&work, opener, &root, new.label.as_deref(), self.clock.now()).await?;
            if active {
                made = Some(slot);
            }
        }
        let slot =
            made.ok_or_else(|| Error::SealingKey("another process has just made a root key".to_owned()))?;
        self.tell(&work, caller, "sgx.slot_added", "A further key opens the root key", &slot).await?;
        work.audit(Audit::new(
            "sgx",
            "ADD_SLOT",
            "root_slot",
            slot.slot_id.to_string(),
            AuditResult::Success,
        ));
        let answer = view(self.told(slot, &roots));
        once.keep(&work, caller, axum::http::StatusCode::CREATED, &answer).await?;
        work.commit().await?;
        Ok(Answer::Made(answer))
    }

    /// Opens a slot, with the key at hand or with one that is given.
    pub(crate) async fn test_slot(
        &self,
        caller: &Caller,
        id: Uuid,
        key: Option<&Key256>,
    ) -> Result<SlotInfo> {
        let resource = id.to_string();
        self.operator(caller, "TEST_SLOT", &resource).await?;
        let outcome = self.test_slot_once(caller, id, key).await;
        if let Err(error) = &outcome {
            self.refused(caller, "TEST_SLOT", &resource, &error.to_string()).await?;
        }
        outcome
    }

    async fn test_slot_once(&self, caller: &Caller, id: Uuid, key: Option<&Key256>) -> Result<SlotInfo> {
        let mut work = self.db.begin(LOGIN, caller).await?;
        let roots = store::roots(&work).await?;
        let slot = store::slots(&work).await?.into_iter().find(|slot| slot.slot_id == id);
        let mut slot = slot.ok_or(RootError::SlotNotFound)?;
        if slot.state != "active" {
            return Err(RootError::SlotRetired.into());
        }
        let given = key.map(|key| Opener::new(SlotKind::Configured, key));
        let opener = given.as_ref().or_else(|| self.keys.root().opener_of(&slot));
        match opener.ok_or(RootError::KeyNotAtHand)?.open(&slot) {
            Tried::Opened(_) => {}
            Tried::NotFor => return Err(RootError::WrongKey.into()),
            Tried::Damaged => {
                let what = "A slot of the root key is not what was wrapped there";
                self.tell(&work, caller, "sgx.slot_damaged", what, &slot).await?;
                work.commit().await?;
                return Err(RootError::SlotDamaged.into());
            }
        }
        let now = self.clock.now();
        store::slot_tested(&work, id, now).await?;
        slot.tested_at = Some(now);
        work.audit(Audit::new("sgx", "TEST_SLOT", "root_slot", id.to_string(), AuditResult::Success));
        work.commit().await?;
        Ok(self.told(slot, &roots))
    }

    /// Takes a key's slots away, of every root key. What the process has opened stays open until its end.
    pub(crate) async fn retire_slot(&self, caller: &Caller, id: Uuid) -> Result<SlotInfo> {
        let resource = id.to_string();
        self.operator(caller, "RETIRE_SLOT", &resource).await?;
        let outcome = self.retire_slot_once(caller, id).await;
        if let Err(error) = &outcome {
            self.refused(caller, "RETIRE_SLOT", &resource, &error.to_string()).await?;
        }
        outcome
    }

    async fn retire_slot_once(&self, caller: &Caller, id: Uuid) -> Result<SlotInfo> {
        let mut work = self.db.begin(LOGIN, caller).await?;
        // Held: of two requests that each leave the other's slot as the last, one has to see the other.
        let roots = store::lock_roots(&work).await?;
        let slots = store::slots(&work).await?;
        let in_use = |root_key_id: &[u8]| {
            roots.iter().any(|root| root.root_key_id == root_key_id && root.state != "retired")
        };
        let open: Vec<OpenSlot<'_>> = slots
            .iter()
            .filter(|slot| slot.state == "active" && in_use(&slot.root_key_id))
            .map(|slot| OpenSlot {
                id: slot.slot_id,
                root: &slot.root_key_id,
                opener: &slot.opener_id,
                openable: slot.kind == SlotKind::Configured.as_str()
                    || self.keys.root().opener_of(slot).is_some(),
            })
            .collect();
        let going = match retire(&open, id) {
            Retirement::Unknown if slots.iter().any(|slot| slot.slot_id == id) => {
                return Err(RootError::SlotRetired.into());
            }
            Retirement::Unknown => return Err(RootError::SlotNotFound.into()),
            Retirement::Last => return Err(RootError::LastSlot.into()),
            Retirement::Slots(going) => going,
        };
        let now = self.clock.now();
        store::retire_slots(&work, &going, now).await?;
        let slot = store::slots(&work).await?.into_iter().find(|slot| slot.slot_id == id);
        let slot = slot.ok_or(RootError::SlotNotFound)?;
        self.tell(&work, caller, "sgx.slot_retired", "A key opens the root key no more", &slot).await?;
        work.audit(Audit::new("sgx", "RETIRE_SLOT", "root_slot", id.to_string(), AuditResult::Success));
        work.commit().await?;
        Ok(self.told(slot, &roots))
    }

    /// The root key is the whole installation's, and no tenant's administrator touches it.
    pub(crate) async fn operator(&self, caller: &Caller, action: &'static str, resource: &str) -> Result<()> {
        if caller.tenant() == TenantId::DEFAULT {
            return Ok(());
        }
        let error = RootError::OperatorOnly;
        let entry = Audit::new("sgx", action, "root_slot", resource, AuditResult::Denied);
        self.audits.record(caller, entry.details(error.to_string())).await?;
        Err(error.into())
    }

    async fn refused(
        &self,
        caller: &Caller,
        action: &'static str,
        resource: &str,
        reason: &str,
    ) -> Result<()> {
        let entry = Audit::new("sgx", action, "root_slot", resource, AuditResult::Failure);
        Ok(self.audits.record(caller, entry.details(reason)).await?)
    }

    /// Who opens the root key is a security officer's business.
    async fn tell(
        &self,
        work: &UnitOfWork<'_>,
        caller: &Caller,
        kind: &'static str,
        what: &str,
        slot: &store::RootSlot,
    ) -> Result<()> {
        let opener = name(&slot.kind, &slot.opener_id);
        let event = SecurityEvent {
            kind,
            severity: if kind == "sgx.slot_damaged" { Severity::Critical } else { Severity::High },
            description: format!("{what}: {opener}"),
            data: serde_json::json!({
                "slotId": slot.slot_id, "rootKeyId": hex::encode(&slot.root_key_id), "opener": opener,
                "label": slot.label,
            }),
        };
        Ok(self.security.record(work, caller, &event).await?)
    }

    fn told(&self, slot: store::RootSlot, roots: &[store::Root]) -> SlotInfo {
        let root = roots.iter().find(|root| root.root_key_id == slot.root_key_id);
        SlotInfo {
            at_hand: self.keys.root().opener_of(&slot).is_some(),
            id: slot.slot_id,
            root_state: root.map(|root| root.state.clone()).unwrap_or_default(),
            root_key_id: slot.root_key_id,
            kind: slot.kind,
            opener_id: slot.opener_id,
            label: slot.label,
            state: slot.state,
            created_at: slot.created_at,
            tested_at: slot.tested_at,
            retired_at: slot.retired_at,
        }
    }
}
