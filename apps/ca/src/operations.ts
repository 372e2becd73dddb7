/** What the CA's rows mean, for the OpenAPI document. */
import type { Operations } from "@heddle/daemon";

export const CA_OPERATIONS: Operations = {
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
  "PUT /v1/connect/ca/rollback": { summary: "Has the root before sign again" },
  "GET /v1/connect/ca/status": { summary: "How far a rotation of the root is" },
  "GET /v1/connect/ca/roots": { summary: "Roots that are trusted", isRead: true, query: ["pem"] },
};
