import type { ComponentChildren, VNode } from 'preact'

export interface LayoutProps {
  readonly site: string
  readonly title: string
  readonly children: ComponentChildren
}

/** The frame of every page. Texts are escaped by the renderer. */
export function Layout({ site, title, children }: LayoutProps): VNode {
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>{`${title} · ${site}`}</title>
        <link rel="stylesheet" href="/assets/berth.css" />
      </head>
      <body>
        <header>
          <a href="/">{site}</a>
          <nav>
            <a href="/builds">Builds</a> <a href="/auth/tokens">Access tokens</a>
          </nav>
        </header>
        <main>
          <h1>{title}</h1>
          {children}
        </main>
      </body>
    </html>
  )
}
