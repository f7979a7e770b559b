//! Values in and out of their stored text forms.
