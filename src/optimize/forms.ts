/**
 * Forms of a stored body: one stored object serves every coding. A form is derived once, however many
 * viewers ask for it at the same time, and is kept and counted with its response.
 */
import { assert } from "../base/assert.ts";
import { LargeBody } from "../cache/large-body.ts";
import type { MemoryStore } from "../cache/store/memory.ts";
import type { BodyForm, Coding, StoredResponse } from "../cache/stored.ts";
import { decodeBytes, encodeBytes } from "./codings.ts";

const deriving = new WeakMap<StoredResponse, Map<Coding, Promise<BodyForm>>>();

/** The form of `entry` in `coding`: at once when it is there, derived otherwise. Rejects when it can not be expanded. */
export function formOf(
  store: MemoryStore,
  entry: StoredResponse,
  coding: Coding,
): BodyForm | Promise<BodyForm> {
  return entry.form(coding) ?? derivedForm(store, entry, coding);
}

function derivedForm(store: MemoryStore, entry: StoredResponse, coding: Coding): Promise<BodyForm> {
  let pending = deriving.get(entry);
  if (pending === undefined) {
    pending = new Map();
    deriving.set(entry, pending);
  }
  const known = pending.get(coding);
  if (known !== undefined) return known;
  const made = derive(store, entry, coding).finally(() => pending.delete(coding));
  pending.set(coding, made);
  return made;
}

async function derive(store: MemoryStore, entry: StoredResponse, coding: Coding): Promise<BodyForm> {
  const { body: stored } = entry;
  assert(!(stored instanceof LargeBody), "a large body has one form");
  const raw = stored instanceof Uint8Array ? stored : await stored.bytes();
  const plain =
    entry.coding === "identity" ? raw : await decodeBytes(raw, entry.coding, store.objectBytesMax);
  const body = coding === "identity" ? plain : await encodeBytes(plain, coding);
  // A small view into a larger buffer would keep the whole of it.
  const own = body.byteLength === body.buffer.byteLength ? body : body.slice();
  const form: BodyForm = { coding, body: own, length: own.byteLength, hot: null };
  store.addForm(entry, form);
  return form;
}
