/**
 * Templates of a hook: text with places that a message fills. `{path}` takes a value of the message's JSON,
 * percent-encoded where it becomes part of a URL; `{+path}` lets slashes stand (RFC 6570 sections 3.2.2 and
 * 3.2.3). There is no code in them. A path has names, places and `[*]` for each item of a list:
 * `entry.tags[*].name`; the same list in one template is gone through once, not once for each mention.
 *
 * A value that is missing or empty makes no target: a purge must never reach further than was meant.
 */

/** What a target is. */
export type TemplateKind = "url" | "prefix" | "tag";

/** Places in one template, and steps of one path. */
const PLACES_MAX = 5;
const STEPS_MAX = 20;
/** How often all templates of a hook are filled from one message: lists in lists multiply, and so do rules. */
const ROUNDS_MAX = 100_000;
/** Values of one message that all conditions of a hook look at. */
const LOOKS_MAX = 500_000;
/** Longest target, in characters. */
const TARGET_CHARS_MAX: Readonly<Record<TemplateKind, number>> = { url: 8_192, prefix: 1_024, tag: 1_024 };

/** What one message may cost still, all rules together: whoever maps it has nothing else done meanwhile. */
export class Effort {
  #rounds = ROUNDS_MAX;
  #looks = LOOKS_MAX;

  /** One of them is used up: what was found since is not all that there is. */
  get isSpent(): boolean {
    return this.#rounds < 0 || this.#looks < 0;
  }

  /** Takes one filling of a template; false when there is none left. */
  takeRound(): boolean {
    return --this.#rounds >= 0;
  }

  /** Takes one look at a value; false when there is none left. */
  takeLook(): boolean {
    return --this.#looks >= 0;
  }
}

type Step = string | number | "*each*";

interface Place {
  readonly text: string;
  readonly steps: readonly Step[];
  readonly keepsSlashes: boolean;
}

/** A template that was read. */
export interface Template {
  readonly text: string;
  readonly kind: TemplateKind;
  readonly parts: readonly (string | Place)[];
}

/** What a template makes of a message. */
export interface Expansion {
  readonly targets: readonly string[];
  /** Why there is no target, or one less; each reason once. */
  readonly skipped: readonly string[];
  /** There would have been more targets than `max`. */
  readonly isOver: boolean;
}

/** Reads a template. Returns what is wrong with it as a sentence that follows its name. */
export function readTemplate(text: string, kind: TemplateKind): Template | string {
  const parts: (string | Place)[] = [];
  for (const piece of text.split(/(\{[^{}]*\})/)) {
    if (piece === "") continue;
    if (!/^\{[^{}]*\}$/.test(piece)) {
      if (/[{}]/.test(piece)) return "has a brace that has no other";
      parts.push(piece);
      continue;
    }
    const keepsSlashes = piece.startsWith("{+");
    const path = piece.slice(keepsSlashes ? 2 : 1, -1);
    const steps = readPath(path);
    if (steps === null) return `has the path "${path}"; expected one such as entry.id or entry.tags[*].name`;
    parts.push({ text: path, steps, keepsSlashes });
  }
  const places = parts.filter((part) => typeof part !== "string");
  if (places.length > PLACES_MAX) return `has ${places.length} places; at most ${PLACES_MAX} are allowed`;
  const [first] = parts;
  // A whole URL of the message is held against the site by whoever purges it.
  if (kind === "url" && parts.length === 1 && typeof first !== "string" && first?.keepsSlashes === true)
    return { text, kind, parts };
  const begins = kind === "url" ? /^https?:\/\/[^/{}]+\// : /^[^/{}]*\//;
  if (kind !== "tag" && !begins.test(typeof first === "string" ? first : ""))
    return kind === "url"
      ? "must begin with http(s)://, a host and a slash, or be {+path} alone"
      : "must begin with a slash, or with a host and a slash";
  return { text, kind, parts };
}

/** A path's steps; null for what is none. */
export function readPath(path: string): readonly Step[] | null {
  const steps: Step[] = [];
  const rest = path
    .replace(/^\$\.?/, "")
    .replace(/([\w-]+|\[\d{1,6}\]|\[\*\])(?:\.(?=[\w-])|(?=\[)|$)/g, (_all, one) => {
      steps.push(one === "[*]" ? "*each*" : one.startsWith("[") ? Number(one.slice(1, -1)) : one);
      return "";
    });
  return rest === "" && steps.length > 0 && steps.length <= STEPS_MAX ? steps : null;
}

/** Every value that a path leads to, as long as the effort lasts. */
export function valuesAt(value: unknown, steps: readonly Step[], effort: Effort): unknown[] {
  if (!effort.takeLook()) return [];
  const [step, ...rest] = steps;
  if (step === undefined) return [value];
  if (step !== "*each*") {
    const next = memberOf(value, step);
    return next === undefined ? [] : valuesAt(next, rest, effort);
  }
  const found: unknown[] = [];
  if (Array.isArray(value))
    for (const item of value) {
      if (effort.isSpent) break;
      for (const one of valuesAt(item, rest, effort)) found.push(one);
    }
  return found;
}

/** Fills a template from a message, up to `max` targets and as long as the effort lasts. */
export function expand(
  template: Template,
  message: unknown,
  max: number,
  effort: Effort = new Effort(),
): Expansion {
  const targets = new Set<string>();
  const skipped = new Set<string>();
  const lists = listsOf(template);
  let isOver = false;
  const fill = (chosen: ReadonlyMap<string, number>, open: readonly string[]): void => {
    if (isOver) return;
    const [list, ...others] = open;
    if (!effort.takeRound()) {
      isOver = true;
      return;
    }
    if (list === undefined) {
      const made = fillOnce(template, message, chosen);
      if (typeof made !== "string") skipped.add(made.skipped);
      else if (targets.size < max || targets.has(made)) targets.add(made);
      else isOver = true;
      return;
    }
    const items = valueFor(message, stepsOfList(list), chosen);
    if (!Array.isArray(items)) {
      skipped.add(`{${stepsOfList(list).join(".").replaceAll(".*each*", "[*]")}} is no list`);
      return;
    }
    for (let i = 0; i < items.length && !isOver; i++) fill(new Map([...chosen, [list, i]]), others);
  };
  fill(new Map(), lists);
  return { targets: [...targets], skipped: [...skipped], isOver };
}

function fillOnce(
  { parts, kind }: Template,
  message: unknown,
  chosen: ReadonlyMap<string, number>,
): string | { readonly skipped: string } {
  let target = "";
  for (const part of parts) {
    if (typeof part === "string") {
      target += part;
      continue;
    }
    const value = valueFor(message, part.steps, chosen);
    const isScalar = typeof value === "string" || (typeof value === "number" && Number.isFinite(value));
    if (!isScalar || value === "") return { skipped: `{${part.text}} is missing or empty` };
    const made = kind === "tag" ? String(value) : encoded(String(value), part.keepsSlashes);
    if (made === null || /\p{Cc}/u.test(made) || !made.isWellFormed())
      return { skipped: `{${part.text}} has what can not stand there` };
    target += made;
  }
  // Values that are harmless each may make such a segment together, or with the text around them.
  if (kind !== "tag" && hasDotSegment(target)) return { skipped: "a target has a dot segment" };
  if (target.length > TARGET_CHARS_MAX[kind])
    return { skipped: `a target is longer than ${TARGET_CHARS_MAX[kind]} characters` };
  if (kind === "url" && !URL.canParse(target)) return { skipped: `"${target.slice(0, 100)}" is no URL` };
  return target;
}

/** Null for what would lead elsewhere: dot segments, halves of characters. */
function encoded(value: string, keepsSlashes: boolean): string | null {
  if (!value.isWellFormed()) return null;
  if (hasDotSegment(value)) return null;
  if (!keepsSlashes) return encodeURIComponent(value);
  // What is encoded already stays so.
  return encodeURI(value)
    .replaceAll(/%25([0-9a-f]{2})/gi, "%$1")
    .replaceAll("#", "%23");
}

/** Has the path a segment that leads elsewhere (RFC 3986 section 3.3)? */
function hasDotSegment(text: string): boolean {
  const path = text.split(/[?#]/, 1)[0] ?? "";
  return path.split(/[/\\]/).some((segment) => /^(?:\.|%2e){1,2}$/i.test(segment));
}

/** The lists of a template that are gone through, the outer ones first: "items[*]", "items[*].tags[*]". */
function listsOf({ parts }: Template): string[] {
  const lists = new Set<string>();
  for (const part of parts) {
    if (typeof part === "string") continue;
    part.steps.forEach((step, i) => {
      if (step === "*each*") lists.add(JSON.stringify(part.steps.slice(0, i)));
    });
  }
  return [...lists].sort((a, b) => stepsOfList(a).length - stepsOfList(b).length);
}

function stepsOfList(list: string): readonly Step[] {
  return JSON.parse(list) as Step[];
}

function valueFor(message: unknown, steps: readonly Step[], chosen: ReadonlyMap<string, number>): unknown {
  let value = message;
  for (const [i, step] of steps.entries()) {
    const at = step === "*each*" ? chosen.get(JSON.stringify(steps.slice(0, i))) : step;
    value = at === undefined ? undefined : memberOf(value, at);
    if (value === undefined) return undefined;
  }
  return value;
}

function memberOf(value: unknown, step: string | number): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  // Its own members only: nothing of what every object has.
  return Object.hasOwn(value, step) ? (value as Record<string | number, unknown>)[step] : undefined;
}
