/**
 * GET and PUT /v1/connect/ca/configuration: how long leaves live, how fast they are signed, and which root signs. Never shows a
 * key. PUT /v1/connect/ca/csr, ours: a request for an intermediate, for whoever keeps the root's key.
 */
import {
  type ApiTable,
  decodeBody,
  describeError,
  HeddleError,
  readBody,
  refusal,
  reply,
  replyEmpty,
  type Spec,
} from "@heddle/daemon";
import type { Authority } from "../authority.ts";
import { type ProviderConfig, withoutSecrets } from "../provider-config.ts";

const MAX_BODY_BYTES = 64 * 1024;
const FIELDS: Record<string, Spec> = {
  Provider: "string",
  Config: { map: "any" },
  State: { map: "string" },
  ForceWithoutCrossSigning: "boolean",
  force_without_cross_signing: "boolean",
  CreateIndex: "any",
  ModifyIndex: "any",
};

export function configurationTable(authority: Authority): ApiTable {
  return {
    "/v1/connect/ca/csr": {
      async PUT(request) {
        reply(request, { CSR: await authority.requestIntermediate() });
      },
    },
    "/v1/connect/ca/configuration": {
      GET(request) {
        const { value, createIndex, modifyIndex } = authority.config();
        reply(request, {
          Provider: value.provider,
          Config: value.config && withoutSecrets(value.config),
          State: null,
          ForceWithoutCrossSigning: value.forceWithoutCrossSigning,
          CreateIndex: createIndex,
          ModifyIndex: modifyIndex,
        });
      },
      async PUT(request) {
        const body = await readBody(request.req, MAX_BODY_BYTES);
        const given = decode(body);
        const provider = given.Provider ?? "";
        if (provider !== "consul" && provider !== "vault")
          throw refusal(500, `could not initialize provider: unknown CA provider ${JSON.stringify(provider)}`);
        const force = given.ForceWithoutCrossSigning ?? given.force_without_cross_signing ?? false;
        await authority.configure(provider, given.Config ?? null, force);
        replyEmpty(request);
      },
    },
  };
}

interface Given {
  Provider?: string;
  Config?: ProviderConfig;
  ForceWithoutCrossSigning?: boolean;
  force_without_cross_signing?: boolean;
}

function decode(body: Buffer): Given {
  try {
    return decodeBody(body, FIELDS);
  } catch (error) {
    if (error instanceof HeddleError) throw refusal(400, `Bad request: ${describeError(error)}`);
    throw error;
  }
}
