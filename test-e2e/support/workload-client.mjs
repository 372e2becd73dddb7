// A program written for SPIFFE, with Google's own gRPC: node workload-client.mjs SOCKET METHOD PROTO [without-header]. Prints each
// answer as a line of JSON, then the status.
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { Client, credentials, loadPackageDefinition, Metadata } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const [, , socket, method, proto, header] = process.argv;
const { SpiffeWorkloadAPI } = loadPackageDefinition(loadSync(proto, { keepCase: true }));
const client = new SpiffeWorkloadAPI(`unix://${socket}`, credentials.createInsecure());
const metadata = new Metadata();
if (header !== "without-header") metadata.set("workload.spiffe.io", "true");
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const hash = (bytes) => createHash("sha256").update(bytes).digest("hex");
// A method that the file does not describe is called by its path, with an empty message.
const asItIs = (message) => message;
const unknown = () => {
  const bare = new Client(`unix://${socket}`, credentials.createInsecure());
  return bare.makeServerStreamRequest(`/SpiffeWorkloadAPI/${method}`, asItIs, asItIs, Buffer.alloc(0), metadata);
};
const call = client[method] ? client[method]({}, metadata) : unknown();
call.on("data", ({ svids = [], bundles = {} }) => {
  for (const { spiffe_id, x509_svid, x509_svid_key, bundle } of svids) {
    const leaf = new X509Certificate(x509_svid);
    const key = createPrivateKey({ key: x509_svid_key, format: "der", type: "pkcs8" });
    const root = new X509Certificate(bundle);
    print({
      spiffe_id,
      serial: leaf.serialNumber,
      fits: leaf.checkPrivateKey(key),
      issued: leaf.verify(root.publicKey),
    });
  }
  for (const [domain, bytes] of Object.entries(bundles)) print({ domain, bundle: hash(bytes), length: bytes.length });
});
call.on("error", ({ code, details }) => {
  print({ code, details });
  process.exit(0);
});
call.on("end", () => print({ code: 0 }));
