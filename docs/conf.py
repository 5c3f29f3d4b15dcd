"""Configuration of Sphinx, with Furo and MyST. The docs build without a network."""

import os
from importlib import metadata

project = 'aioluahttp'
release = metadata.version(project)
html_theme = 'furo'
html_title = f'{project} {release}'
html_show_copyright = False
exclude_patterns = ['_build']

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.intersphinx',
    'sphinx.ext.napoleon',
    'sphinx_copybutton',
    'sphinx_design',
]
myst_enable_extensions = ['colon_fence']
html_static_path = ['_static']
html_css_files = ['pages.css']
myst_heading_anchors = 3
autodoc_member_order = 'bysource'
# Signatures name a handler, and do not spell out its type; what a middleware returns is one too.
autodoc_type_aliases = {'Handler': 'Handler', 'Wrapped': 'Handler'}
napoleon_numpy_docstring = False

if os.environ.get('INTERSPHINX'):
    intersphinx_mapping = {
        'python': ('https://docs.python.org/3', None),
        'aiohttp': ('https://docs.aiohttp.org/en/stable', None),
        'multidict': ('https://multidict.aio-libs.org/en/stable', None),
        'yarl': ('https://yarl.aio-libs.org/en/stable', None),
    }
# Our own names must resolve. Type variables cannot, nor other packages' names without a network.
nitpick_ignore_regex = [
    ('py:class', r'(?!aioluahttp\.\w+$).*'),
    ('py:(?!class).*', r'(?!aioluahttp\b).*'),
]


def resolve_at_root(app, env, node, contnode):
    """Link a name to ``aioluahttp.<name>``: signatures have the inner module that defines it."""
    name = project + '.' + node.get('reftarget', '').rpartition('.')[2]
    domain = env.get_domain('py')
    return domain.resolve_xref(env, node['refdoc'], app.builder, 'obj', name, node, contnode)


def setup(app):
    """Connect ``resolve_at_root``. Sphinx calls this."""
    app.connect('missing-reference', resolve_at_root)
