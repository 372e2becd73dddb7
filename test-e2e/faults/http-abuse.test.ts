/** API-01, API-02, API-04, API-09: bodies, headers, connections and peers that mean no good, against every HTTP daemon. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Agent } from "node:http";
import { ask, daemon, type Daemon, freePort, get, metric, put, serve } from "./daemon.ts";
import { exchange, raw } from "./tcp.ts";
