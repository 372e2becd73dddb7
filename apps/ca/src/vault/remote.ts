/** A Vault that signs: its client, its two mounts, and the token that is kept alive while it is used. */
import { isDeepStrictEqual } from "node:util";
import type { Clock, Logger } from "@heddle/daemon";
import { createVaultClient } from "./client.ts";
import { createVaultPki, type VaultPki } from "./pki.ts";
import type { VaultSettings } from "./settings.ts";
import { keepToken } from "./token.ts";

export interface Remote {
  readonly pki: VaultPki;
  /** True where it is the one of these settings and this token. */
  is(settings: VaultSettings, token: string): boolean;
  close(): void;
}

export interface RemoteOptions {
  settings: VaultSettings;
  token: string;
  clock: Clock;
  log: Logger;
}

/** Throws a refusal where a file that is named cannot be read; asks nothing of Vault yet. */
export function openRemote({ settings, token, clock, log }: RemoteOptions): Remote {
  const client = createVaultClient(settings, () => token);
  const stop = keepToken({ client, clock, log });
  return {
    pki: createVaultPki(client, settings),
    is: (others, other) => other === token && isDeepStrictEqual(others, settings),
    close() {
      stop();
      client.close();
    },
  };
}
