/** Has leaves signed by a CA elsewhere, which gives them for what the catalog has on this node. */
import { type ApiClient, ApiError } from "@heddle/api-client";
import { PermissionDeniedError } from "@heddle/daemon";
import type { CatalogSync } from "./catalog-sync.ts";
import type { SignedLeaf } from "./leaves.ts";
import type { LocalState } from "./local-state.ts";

export interface SignDeps {
  ca: ApiClient;
  sync: CatalogSync;
  state: LocalState;
}

/** Throws PermissionDeniedError with the CA's reason, UnavailableError where it is away. */
export function signByCa({ ca, sync, state }: SignDeps): (csr: string, service: string) => Promise<SignedLeaf> {
  const ask = async (csr: string) => (await ca.post<SignedLeaf>("/internal/v1/ca/sign", { body: { csr } })).body;
  return async (csr, service) => {
    try {
      return await ask(csr);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 403) throw error;
      if (!isHere(state, service)) throw refused(error);
    }
    // Registered a moment ago, and not in the catalog yet.
    await sync.settled();
    return ask(csr).catch((error: unknown) => {
      throw error instanceof ApiError && error.status === 403 ? refused(error) : error;
    });
  };
}

const isHere = (state: LocalState, service: string): boolean =>
  state
    .services()
    .some(({ definition: { Name, Proxy } }) => Name === service || Proxy?.DestinationServiceName === service);

function refused(error: ApiError): PermissionDeniedError {
  try {
    const { message } = (JSON.parse(error.body) as { error: { message: string } }).error;
    return new PermissionDeniedError(message, { cause: error });
  } catch {
    return new PermissionDeniedError(error.body, { cause: error });
  }
}
