// A receiver of webhooks: verifies, notes, answers, and takes no step back. Node 20, no packages.
//
//     npx tsc receiver.ts --target es2022 --module nodenext --moduleResolution nodenext --types node
//     WEBHOOK_SECRET=whsec_... node receiver.js 8099 inbox.jsonl
//
// It prints what it takes over, one line an event. Kill it whenever you like: what was answered is kept,
// what was not is sent again. While a secret is replaced, give both, separated by a comma.

import { createHmac, timingSafeEqual } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";

interface Event {
  id: string;
  name: string;
  resource: { id: string; resource_type: string };
  data: unknown;
  sequence: number;
}

const CLOCKS_APART_S = 300;

/** Whether the bytes, as they came, were signed with one of the secrets not long ago. */
function isGenuine(secrets: string[], headers: IncomingHttpHeaders, body: Buffer): boolean {
  const id = headers["webhook-id"], time = headers["webhook-timestamp"];
  const given = headers["webhook-signature"];
  if (typeof id !== "string" || typeof time !== "string" || typeof given !== "string") return false;
  if (!(Math.abs(Date.now() / 1000 - Number(time)) <= CLOCKS_APART_S)) return false;
  return secrets.some((secret) => {
    const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
    const ours = createHmac("sha256", key).update(`${id}.${time}.`).update(body).digest();
    return given.split(" ").some((one) => {
      const [version, text] = one.split(",");
      const theirs = Buffer.from(text ?? "", "base64");
      return version === "v1" && theirs.length === ours.length && timingSafeEqual(theirs, ours);
    });
  });
}

/** What has come, in a file of lines, and each resource as its newest event shows it. */
class Inbox {
  private readonly events = new Set<string>();
  private readonly resources = new Map<string, Event>();
  private readonly file: number;

  constructor(path: string) {
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    for (const line of text.split("\n").slice(0, -1)) this.keep(JSON.parse(line) as Event);
    this.file = openSync(path, "a");
    process.on("exit", () => closeSync(this.file));
  }

  /** Notes an event, and what it shows if it is newer than what is known. Twice is once. */
  take(event: Event): "taken" | "late" | "again" {
    if (this.events.has(event.id)) return "again";
    writeSync(this.file, JSON.stringify(event) + "\n");
    fsyncSync(this.file); // kept, before it is answered
    return this.keep(event) ? "taken" : "late";
  }

  private keep(event: Event): boolean {
    this.events.add(event.id);
    const known = this.resources.get(event.resource.id);
    if (known !== undefined && known.sequence >= event.sequence) return false;
    this.resources.set(event.resource.id, event);
    return true;
  }
}

const [port, path] = process.argv.slice(2);
const secrets = (process.env.WEBHOOK_SECRET ?? "").split(",");
const inbox = new Inbox(path ?? "inbox.jsonl");

createServer((request, response) => {
  const pieces: Buffer[] = [];
  request.on("data", (piece: Buffer) => pieces.push(piece));
  request.on("end", () => {
    const body = Buffer.concat(pieces);
    if (!isGenuine(secrets, request.headers, body)) {
      response.writeHead(401).end();
      return;
    }
    const event = JSON.parse(body.toString("utf8")) as Event; // only now: before, it may be anybody's
    if (event.name !== "webhook.test") {
      const done = inbox.take(event);
      console.log(done, event.resource.id, event.sequence, event.name);
    }
    response.writeHead(204).end();
  });
}).listen(Number(port), "127.0.0.1");
