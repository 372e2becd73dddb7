/** /v1/status: who leads. One catalog server is its own leader. */
import { type ApiTable, reply } from "@heddle/daemon";
import type { CatalogDeps } from "../deps.ts";

export const statusTable = ({ leader }: CatalogDeps): ApiTable => ({
  "/v1/status/leader": { GET: (request) => reply(request, leader) },
  "/v1/status/peers": { GET: (request) => reply(request, [leader]) },
});
