/** For tests that need what is not ours. */
export { startVaultServer, type VaultServer } from "./vault/testing-vault.ts";
