/** File patterns as the stock clients expand them: Go's path.Match for each part of a path (io/fs.Glob). */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** `name` is below `/` without the leading slash. Existing names, in order; none when nothing fits. */
export function expandPattern(name: string): readonly string[] {
  let found: readonly string[] = ['']
  for (const part of name.split('/')) {
    if (!/[*?[\\]/.test(part)) {
      found = found.map((path) => joined(path, part))
      continue
    }
    const pattern = patternOf(part)
    found = found.flatMap((path) =>
      entriesOf(path)
        .filter((entry) => pattern.test(entry))
        .map((entry) => joined(path, entry)),
    )
  }
  return found.filter(exists)
}

/** What may not be looked at is no missing file: the error of the system says so. */
function exists(path: string): boolean {
  try {
    statSync(join('/', path))
    return true
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(code)) return false
    throw error
  }
}

function joined(path: string, part: string): string {
  return path === '' ? part : `${path}/${part}`
}

function entriesOf(path: string): readonly string[] {
  try {
    return readdirSync(join('/', path)).sort()
  } catch {
    return [] // as Glob does it: what cannot be read has nothing in it
  }
}

/** `*` matches a leading dot as well; `[^…]` is the only negation. */
function patternOf(part: string): RegExp {
  const source = part.replace(/\\(.)|\[(\^?)((?:\\.|[^\]\\])+)\]|([*?])|(.)/gsu, translate)
  try {
    return new RegExp(`^${source}$`, 'su')
  } catch {
    return /(?!)/ // a range that runs backwards fits nothing
  }
}

function translate(
  _whole: string,
  escaped: string | undefined,
  negation: string | undefined,
  set: string | undefined,
  sign: string | undefined,
  plain: string | undefined,
): string {
  if (set !== undefined) {
    const inner = set.replace(/\\(.)|([^-\\])/gsu, (_, kept = '', other = '') => {
      return literal(`${kept}${other}`)
    })
    return `[${negation}${inner}]`
  }
  if (sign !== undefined) return sign === '*' ? '.*' : '.'
  return literal(escaped ?? plain ?? '')
}

function literal(char: string): string {
  return /[\w\s]/.test(char) ? char : `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`
}
