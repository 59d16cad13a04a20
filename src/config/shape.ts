/**
 * Reads the schema back: what is allowed at a place, which names, which kind. Errors, the reference
 * page and the input types are all made from this view, so that they cannot say different things.
 */
import * as z from "zod";
import { quoted } from "./problems.ts";
import { valueNotes } from "./values.ts";

/** A schema without its wrappers. */
export interface Unwrapped {
  readonly schema: z.ZodType;
  /** True when the setting may be left out. */
  readonly optional: boolean;
  /** What a setting left out stands for, as a person would write it; undefined when nothing. */
  readonly fallback: unknown;
  readonly description: string | undefined;
}

/** Takes optional, default and transform wrappers off a schema, and keeps what they say. */
export function unwrap(wrapped: z.core.$ZodType): Unwrapped {
  let schema: z.core.$ZodType = wrapped;
  let optional = false;
  let fallback: unknown;
  let description: string | undefined;
  for (;;) {
    description ??= z.globalRegistry.get(schema)?.description;
    if (valueNotes.get(schema) !== undefined && !isWrapper(schema)) break;
    if (schema instanceof z.ZodOptional) {
      optional = true;
      schema = schema.def.innerType;
    } else if (schema instanceof z.ZodPrefault || schema instanceof z.ZodDefault) {
      optional = true;
      fallback = schema.def.defaultValue;
      schema = schema.def.innerType;
    } else if (schema instanceof z.ZodPipe) {
      schema = schema.def.in;
    } else {
      break;
    }
  }
  // Every schema of the config is made with zod's classic classes, which all extend ZodType.
  return { schema: schema as z.ZodType, optional, fallback, description };
}

function isWrapper(schema: z.core.$ZodType): boolean {
  return schema instanceof z.ZodOptional || schema instanceof z.ZodPrefault || schema instanceof z.ZodDefault;
}

/** What is allowed at a place, in words that follow "expected". */
export function allowedText(wrapped: z.core.$ZodType): string {
  const { schema } = unwrap(wrapped);
  const note = valueNotes.get(schema);
  if (note !== undefined) return note.allowed;
  if (schema instanceof z.ZodBoolean) return "true or false";
  if (schema instanceof z.ZodEnum) return orList(schema.options.map((option) => JSON.stringify(option)));
  if (schema instanceof z.ZodLiteral) return orList([...schema.values].map((value) => JSON.stringify(value)));
  if (schema instanceof z.ZodUnion) return orList(schema.options.map((option) => allowedText(option)));
  if (schema instanceof z.ZodArray) {
    const list = atLeastOne(schema) ? "a list of at least one" : "a list";
    return `${list}, each ${allowedText(schema.element)}`;
  }
  if (schema instanceof z.ZodRecord) return `an object whose names are each ${allowedText(schema.keyType)}`;
  if (schema instanceof z.ZodObject) {
    const names = Object.keys(schema.shape);
    if (names.length <= 8) return `an object {${names.join(", ")}}`;
    const required = requiredNames(schema);
    return required.length === 0 ? "an object" : `an object {${required.join(", ")}, ...}`;
  }
  return "a value";
}

/** True when a list may not be empty. */
export function atLeastOne(schema: z.ZodArray): boolean {
  return !schema.safeParse([]).success;
}

/** True when values at this place may be secret and are not to be shown. */
export function isSecret(wrapped: z.core.$ZodType): boolean {
  const { schema } = unwrap(wrapped);
  return valueNotes.get(schema)?.secret === true;
}

/** The names and literal texts that are allowed at a place, to find the nearest one. */
export function allowedWords(wrapped: z.core.$ZodType): string[] {
  const { schema } = unwrap(wrapped);
  if (schema instanceof z.ZodEnum) return schema.options.map(String);
  if (schema instanceof z.ZodLiteral) return [...schema.values].filter((value) => typeof value === "string");
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => allowedWords(option));
  return [];
}

/** The object forms of a place: one for an object, several for a union of them, none otherwise. */
export function objectForms(wrapped: z.core.$ZodType): z.ZodObject[] {
  const { schema } = unwrap(wrapped);
  if (schema instanceof z.ZodObject) return [schema];
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => objectForms(option));
  return [];
}

/** Names of the settings of an object that may not be left out. */
export function requiredNames(form: z.ZodObject): string[] {
  return Object.entries(form.shape)
    .filter(([, schema]) => !unwrap(schema).optional)
    .map(([name]) => name);
}

/** The schema one step below; null when there is no such place. */
export function schemaBelow(wrapped: z.core.$ZodType, step: string | number): z.core.$ZodType | null {
  const { schema } = unwrap(wrapped);
  if (schema instanceof z.ZodArray) return schema.element;
  if (schema instanceof z.ZodRecord) return schema.valueType;
  if (schema instanceof z.ZodObject) {
    return Object.hasOwn(schema.shape, step) ? (schema.shape[step] ?? null) : null;
  }
  if (schema instanceof z.ZodUnion) {
    for (const option of schema.options) {
      const below = schemaBelow(option, step);
      if (below !== null) return below;
    }
  }
  return null;
}

/** `a, b or c`. */
export function orList(items: readonly string[]): string {
  if (items.length <= 1) return items.join("");
  return `${items.slice(0, -1).join(", ")} or ${items.at(-1)}`;
}

/** Names in quotes: `"a", "b" or "c"`. */
export function orNames(names: readonly string[]): string {
  return orList(names.map((name) => quoted(name)));
}
