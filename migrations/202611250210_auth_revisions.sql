-- What a login was decided by must still be so when its session starts: the password that was compared, the roles, the
-- account's status. Whoever changes one of these raises the revision, and a login starts its session at the revision
-- that it read, in one statement.

ALTER TABLE auth.users
    ADD COLUMN revision bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN auth.users.revision IS
    'Raised by every change of what a login is decided by: password, status, memberships, roles. A stranger cannot raise it.';
