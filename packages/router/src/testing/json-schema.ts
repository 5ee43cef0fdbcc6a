/** Checks a value against the part of JSON Schema 2020-12 that our published schemas use. */

type Schema = Readonly<Record<string, unknown>>

const known = new Set([
  '$schema',
  '$id',
  '$defs',
  'title',
  'description',
  '$ref',
  'anyOf',
  'type',
  'const',
  'enum',
  'minimum',
  'maximum',
  'required',
  'properties',
  'additionalProperties',
  'items',
  'maxItems',
])

/** Problems found, each with the place of the value; empty when it is valid. Throws on a keyword it does not know. */
export function validateJson(value: unknown, root: Schema): string[] {
  const problems: string[] = []
  check(value, root, root, '$', problems)
  return problems
}

function check(value: unknown, schema: Schema, root: Schema, at: string, problems: string[]): void {
  for (const keyword of Object.keys(schema)) {
    if (!known.has(keyword)) throw new Error(`${at}: the schema uses ${keyword}, which this checker does not know`)
  }
  if (typeof schema['$ref'] === 'string') check(value, resolve(schema['$ref'], root), root, at, problems)
  if (Array.isArray(schema['anyOf'])) checkAnyOf(value, schema['anyOf'] as Schema[], root, at, problems)
  if ('const' in schema && value !== schema['const']) problems.push(`${at}: is not ${JSON.stringify(schema['const'])}`)
  if (Array.isArray(schema['enum']) && !schema['enum'].includes(value))
    problems.push(`${at}: ${JSON.stringify(value)} is not allowed`)
  if (schema['type'] !== undefined && !hasType(value, schema['type'])) {
    problems.push(`${at}: ${JSON.stringify(value)} is not ${JSON.stringify(schema['type'])}`)
    return
  }
  if (typeof value === 'number') checkRange(value, schema, at, problems)
  if (Array.isArray(value)) checkArray(value, schema, root, at, problems)
  else if (typeof value === 'object' && value !== null) checkObject(value, schema, root, at, problems)
}

function resolve(reference: string, root: Schema): Schema {
  const definitions = root['$defs'] as Readonly<Record<string, Schema>> | undefined
  const found = definitions?.[reference.replace('#/$defs/', '')]
  if (found === undefined) throw new Error(`the schema refers to ${reference}, which it does not define`)
  return found
}

function checkAnyOf(value: unknown, options: readonly Schema[], root: Schema, at: string, problems: string[]): void {
  const attempts = options.map((option) => {
    const found: string[] = []
    check(value, option, root, at, found)
    return found
  })
  if (attempts.every((found) => found.length > 0)) problems.push(...(attempts[0] ?? []))
}

function checkRange(value: number, schema: Schema, at: string, problems: string[]): void {
  if (typeof schema['minimum'] === 'number' && value < schema['minimum'])
    problems.push(`${at}: ${value} is below ${schema['minimum']}`)
  if (typeof schema['maximum'] === 'number' && value > schema['maximum'])
    problems.push(`${at}: ${value} is above ${schema['maximum']}`)
}

function checkArray(value: readonly unknown[], schema: Schema, root: Schema, at: string, problems: string[]): void {
  if (typeof schema['maxItems'] === 'number' && value.length > schema['maxItems'])
    problems.push(`${at}: has ${value.length} items`)
  const items = schema['items'] as Schema | undefined
  if (items === undefined) return
  for (const [index, item] of value.entries()) check(item, items, root, `${at}[${index}]`, problems)
}

function checkObject(value: object, schema: Schema, root: Schema, at: string, problems: string[]): void {
  const properties = (schema['properties'] ?? {}) as Readonly<Record<string, Schema>>
  for (const name of (schema['required'] ?? []) as string[]) if (!(name in value)) problems.push(`${at}: lacks ${name}`)
  for (const [name, item] of Object.entries(value)) {
    const property = properties[name]
    if (property !== undefined) check(item, property, root, `${at}.${name}`, problems)
    else if (schema['additionalProperties'] === false) problems.push(`${at}: has ${name}, which is not in the schema`)
  }
}

function hasType(value: unknown, type: unknown): boolean {
  if (Array.isArray(type)) return type.some((single) => hasType(value, single))
  if (type === 'null') return value === null
  if (type === 'array') return Array.isArray(value)
  if (type === 'integer') return Number.isInteger(value)
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value)
  return typeof value === type
}
