// A whole dashboard on Grafana's grid, from what the page was given.

import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import 'uplot/dist/uPlot.min.css';
import React from 'react';
import { createRoot } from 'react-dom/client';
import { createTheme, dateTimeFormat, GrafanaTheme2, ThemeContext } from '@grafana/data';
import { PanelChrome } from '@grafana/ui';
import { Panel, Picture } from './model';
import { PanelBody } from './panels';

const COLUMNS = 24;
/** Pixels of a line of the grid and of the gap beneath it, as in Grafana. */
const LINE = 30;
const GAP = 8;
const HEAD = 92;

declare global {
  interface Window {
    picture: Picture;
  }
}

function place(panel: Panel, width: number): { left: number; top: number; width: number; height: number } {
  const { x, y, w, h } = panel.gridPos;
  const column = (width - GAP) / COLUMNS;
  return {
    left: GAP + x * column,
    top: HEAD + y * (LINE + GAP),
    width: w * column - GAP,
    height: h * (LINE + GAP) - GAP,
  };
}

function Head({ picture, theme }: { picture: Picture; theme: GrafanaTheme2 }) {
  const time = (at: number) => dateTimeFormat(at, { format: 'YYYY-MM-DD HH:mm:ss', timeZone: 'utc' });
  const box = {
    background: theme.colors.background.canvas,
    border: `1px solid ${theme.colors.border.medium}`,
    borderRadius: 2,
    padding: '4px 8px',
  };
  const kinds = [...new Map(picture.marks.map((mark) => [mark.name, mark.color]))];
  return (
    <div style={{ position: 'absolute', left: GAP, right: GAP, top: 8, color: theme.colors.text.primary }}>
      <div style={{ display: 'flex', justifyContent: 'space-between', fontSize: 18, marginBottom: 10 }}>
        <span>{picture.dashboard.title}</span>
        <span style={{ fontSize: 13, ...box }}>
          {time(picture.from)} to {time(picture.to)} UTC
        </span>
      </div>
      <div style={{ display: 'flex', gap: 8, fontSize: 12 }}>
        {picture.variables.map(({ label, value }) => (
          <span key={label} style={{ display: 'flex' }}>
            <span style={{ ...box, background: theme.colors.background.secondary }}>{label}</span>
            <span style={box}>{value}</span>
          </span>
        ))}
        {kinds.map(([name, color]) => (
          <span key={name} style={{ padding: '5px 6px' }}>
            <span
              style={{
                background: color,
                width: 12,
                height: 12,
                display: 'inline-block',
                marginRight: 6,
                borderRadius: 6,
              }}
            />
            {name}
          </span>
        ))}
        <span style={{ flex: 1 }} />
        {picture.dashboard.links.map(({ title }) => (
          <span key={title} style={box}>
            {title}
          </span>
        ))}
      </div>
    </div>
  );
}

function Dashboard({ picture, theme }: { picture: Picture; theme: GrafanaTheme2 }) {
  const panels = picture.dashboard.panels;
  const bottom = Math.max(
    ...panels.map((panel) => place(panel, picture.width).top + place(panel, picture.width).height),
  );
  return (
    <div
      style={{
        position: 'relative',
        width: picture.width,
        height: bottom + GAP,
        background: theme.colors.background.canvas,
      }}
    >
      <Head picture={picture} theme={theme} />
      {panels.map((panel) => {
        const box = place(panel, picture.width);
        if (panel.type === 'row') {
          return (
            <div
              key={panel.id}
              style={{
                position: 'absolute',
                ...box,
                color: theme.colors.text.primary,
                fontSize: 16,
                fontWeight: 500,
                padding: '4px 2px',
              }}
            >
              {panel.title}
            </div>
          );
        }
        return (
          <div key={panel.id} style={{ position: 'absolute', ...box }}>
            <PanelChrome title={panel.title} description={panel.description} width={box.width} height={box.height}>
              {(width: number, height: number) => (
                <PanelBody
                  panel={panel}
                  answers={picture.answers[panel.id]}
                  picture={picture}
                  width={width}
                  height={height}
                />
              )}
            </PanelChrome>
          </div>
        );
      })}
    </div>
  );
}

const theme = createTheme({ colors: { mode: 'dark' } });
document.body.style.cssText = `margin: 0; font-family: ${theme.typography.fontFamily}; font-size: 14px; line-height: 1.4; color: ${theme.colors.text.primary}; background: ${theme.colors.background.canvas}`;
const sheet = document.createElement('style');
sheet.textContent =
  '* { box-sizing: border-box } h2, h6 { margin: 0; font-weight: 500; font-size: 14px } button { background: none; border: 0; color: inherit }';
document.head.append(sheet);
createRoot(document.getElementById('root')!).render(
  <ThemeContext.Provider value={theme}>
    <Dashboard picture={window.picture} theme={theme} />
  </ThemeContext.Provider>,
);
