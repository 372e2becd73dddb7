/** What the CA's rows mean, for the OpenAPI document. */
import type { Operations } from "@heddle/daemon";
import { REINSTATE_FIELDS, REVOKE_FIELDS } from "./routes/revocations.ts";
import { ROTATE_FIELDS } from "./routes/rotations.ts";

export const CA_OPERATIONS: Operations = {
  "PUT /v1/connect/ca/abort": { summary: "Stops the rotation of the root that is under way, or takes it back" },
  "GET /v1/connect/ca/configuration": { summary: "The certificate authority's configuration" },
  "PUT /v1/connect/ca/configuration": {
    summary: "Changes it",
    body: {
      schema: {
        type: "object",
        properties: {
          Provider: { type: "string" },
          Config: { type: "object" },
          ForceWithoutCrossSigning: { type: "boolean" },
        },
        required: ["Provider"],
      },
    },
    answer: "empty",
  },
  "PUT /v1/connect/ca/csr": { summary: "A request for an intermediate certificate, whose key waits here" },
  "GET /v1/connect/ca/crl": {
    summary: "Revoked certificates as an X.509 revocation list",
    query: ["pem"],
    answer: "bytes",
  },
  "GET /v1/connect/ca/revocations": { summary: "Certificates and services that are revoked", isRead: true },
  "PUT /v1/connect/ca/revoke": {
    summary: "Has a certificate, or every certificate of a service, refused everywhere",
    body: { object: REVOKE_FIELDS },
  },
  "PUT /v1/connect/ca/reinstate": {
    summary: "Lets a revoked service in again, with new certificates",
    body: { object: REINSTATE_FIELDS },
  },
  "PUT /v1/connect/ca/rotate": {
    summary: "Replaces the root, or the intermediate that signs for it, by another of its kind",
    body: { object: ROTATE_FIELDS },
  },
  "PUT /v1/connect/ca/rollback": { summary: "Has the root before sign again" },
  "GET /v1/connect/ca/join-tokens": { summary: "Tokens by which nodes join, without their secrets" },
  "PUT /v1/connect/ca/join-tokens": {
    summary: "Makes a token by which nodes join; Join in the answer is the line for 'heddle agent -join'",
    body: {
      schema: {
        type: "object",
        properties: { TTL: { type: "string" }, Uses: { type: "integer" }, Node: { type: "string" } },
      },
    },
  },
  "DELETE /v1/connect/ca/join-tokens/": { summary: "Revokes a join token", argument: "id" },
  "GET /v1/connect/ca/joined-nodes": { summary: "Nodes that have joined by a token" },
  "DELETE /v1/connect/ca/joined-nodes/": {
    summary: "Revokes a node: its certificates are refused, and what it holds open is ended",
    argument: "node",
  },
  "GET /v1/connect/ca/status": { summary: "How far a rotation of the root is" },
  "GET /v1/connect/ca/roots": { summary: "Roots that are trusted", isRead: true, query: ["pem"] },
};
