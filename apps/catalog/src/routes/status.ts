/** /v1/status: who leads, and which servers there are. */
import { type ApiTable, reply } from "@heddle/daemon";
import type { CatalogDeps } from "../deps.ts";

export const statusTable = ({ cluster, state }: CatalogDeps): ApiTable => ({
  // Consul's empty text where there is none.
  "/v1/status/leader": {
    GET: (request) => reply(request, state.store.contact().knowsLeader ? (cluster.leader()?.address ?? "") : ""),
  },
  "/v1/status/peers": {
    GET: (request) =>
      reply(
        request,
        cluster.servers().map(({ address }) => address),
      ),
  },
});
