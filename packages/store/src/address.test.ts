import { describe, expect, it } from "vitest";
import { parseStoreAddress, readStoreOptions, type StoreOptions } from "./address.ts";

const NONE: StoreOptions = {
  ...{ store: "", storeCaFile: "", storeCertFile: "", storeKeyFile: "", storeUser: "", storePasswordFile: "" },
};

describe("a store's address", () => {
  it.each([
    ["etcd://localhost", ["http://localhost:2379"], "heddle"],
    ["etcd://127.0.0.1:2379/", ["http://127.0.0.1:2379"], "heddle"],
    ["etcds://a,b:80,[::1]:1/mesh/dc1/", ["https://a:2379", "https://b:80", "https://[::1]:1"], "mesh/dc1"],
  ])("%s", (text, endpoints, root) => {
    expect(parseStoreAddress(text)).toMatchObject({ endpoints, root });
  });

  it.each([
    "sqlite:/x",
    "etcd://",
    "etcd:///x",
    "etcd://a b",
    "etcd://a:x",
    "etcd://u:p@a",
    "etcd://a/p?q",
    "etcd://a/ü",
  ])("%s is refused", (text) => {
    expect(() => parseStoreAddress(text)).toThrow(/^invalid (?:store|endpoint|prefix) /);
  });
});

describe("a store's options", () => {
  it("are the data directory where none is named", () => expect(readStoreOptions(NONE)).toBeUndefined());

  it.each([
    [{ store: "etcd://10.0.0.1" }, "refusing to talk to etcd at http://10.0.0.1:2379 in plain text"],
    [{ store: "etcd://127.0.0.1", storeCaFile: "/ca.pem" }, "is plain text, but TLS files are given"],
    [{ store: "etcds://a", storeCertFile: "/c.pem" }, "-store-cert-file and -store-key-file go together"],
    [{ store: "etcds://a", storeUser: "root" }, "-store-user and -store-password-file go together"],
    [{ store: "etcds://a", storeCaFile: "/nowhere" }, "cannot read /nowhere"],
  ])("%j is refused", (given, why) => {
    expect(() => readStoreOptions({ ...NONE, ...given })).toThrow(why);
  });
});
