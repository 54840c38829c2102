//! The API key of an account: one of its tokens, which KAZOO's clients log in with. A new one takes the old one's place.

use super::{NewToken, ShownToken, TokenError, Tokens};
use crate::access::token::Token;
use crate::model::AccountId;
use crate::store::StoreError;

/// What people see it called among the account's tokens.
const NAME: &str = "API key";

impl Tokens {
    /// The API key of an account, if it has one.
    ///
    /// # Errors
    /// The store's.
    pub async fn api_key(&self, account: &AccountId) -> Result<Option<ShownToken>, StoreError> {
        let id = self.documents.setting(&setting(account)).await?;
        Ok(id.and_then(|id| self.show(&id)).filter(|token| token.account == *account))
    }

    /// Makes a new API key for an account, and revokes the one before; this is the only time that anybody sees it.
    /// `created_by` is the id of the token that it is asked for with, `most` how many tokens the account may have.
    ///
    /// # Errors
    /// [`TokenError::TooMany`] where the account has no API key yet and as many tokens as it may have, or the store's:
    /// then there may be no API key until it is asked for again.
    pub async fn renew_api_key(
        &self,
        account: &AccountId,
        created_by: String,
        most: u64,
    ) -> Result<(Token, ShownToken), TokenError> {
        let _turn = self.renewing.lock().await;
        let old = self.documents.setting(&setting(account)).await?;
        let replaces = old.as_deref().is_some_and(|id| self.show(id).is_some());
        let new = NewToken {
            account: account.clone(),
            administrator: false,
            name: Some(NAME.to_owned()),
            created_by,
        };
        let made = self.create_beside(new, most, u64::from(replaces)).await?;
        let done = async {
            match self.forget(old).await {
                // It was revoked by its id, or forgotten by memory and not by the store.
                Ok(()) | Err(TokenError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
            Ok(self.documents.set_setting(&setting(account), &made.1.id).await?)
        };
        match done.await {
            Ok(()) => Ok(made),
            Err(error) => {
                // Nobody has seen it, and nothing would know it for the API key.
                if let Err(error) = self.revoke(&made.1.id).await {
                    tracing::warn!(%error, "a token that nobody has is still stored");
                }
                Err(error)
            }
        }
    }

    async fn forget(&self, id: Option<String>) -> Result<(), TokenError> {
        match id {
            Some(id) => self.revoke(&id).await,
            None => Ok(()),
        }
    }
}

/// Where the id of an account's API key is kept.
fn setting(account: &AccountId) -> String {
    format!("api_key.{account}")
}
