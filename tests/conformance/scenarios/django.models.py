"""Django: migrations forth and back, models, queries, JSON and array fields, constraints, introspection."""
import datetime
import decimal
import io
import os
import pathlib
import sys

import django
from django.conf import settings
from django.core.management import call_command

# An application needs a module; it is written beside the program's work.
pathlib.Path("shop/migrations").mkdir(parents=True, exist_ok=True)
for name in ("shop/__init__.py", "shop/migrations/__init__.py"):
    pathlib.Path(name).write_text("")
for old in pathlib.Path("shop/migrations").glob("0*.py"):
    old.unlink()
pathlib.Path("shop/models.py").write_text('''
import uuid
from django.contrib.postgres.fields import ArrayField
from django.db import models

class Author(models.Model):
    name = models.CharField(max_length=100, unique=True)
    born = models.DateField(null=True)
    tags = ArrayField(models.CharField(max_length=20), default=list)
    doc = models.JSONField(default=dict)

class Book(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=200, db_index=True)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    price = models.DecimalField(max_digits=10, decimal_places=2)
    length = models.DurationField(null=True)
    rating = models.FloatField(default=0)
    class Meta:
        constraints = [models.UniqueConstraint(fields=["title", "author"], name="one_title")]
        indexes = [models.Index(fields=["-price"], name="by_price")]

class Label(models.Model):
    name = models.SlugField(unique=True)
    books = models.ManyToManyField(Book)
''')
sys.path.insert(0, os.getcwd())
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.postgres", "shop"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"], "USER": os.environ["PGUSER"],
                           "PASSWORD": os.environ["PGPASSWORD"], "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"]}},
    USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
django.setup()

from django.contrib.postgres.aggregates import ArrayAgg, StringAgg
from django.db import IntegrityError, connection, migrations, models, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.models import Avg, Case, Count, Exists, F, OuterRef, Q, Subquery, Sum, Value, When, Window
from django.db.models.functions import Cast, Coalesce, ExtractYear, Length, Round, RowNumber, TruncMonth, Upper

call_command("makemigrations", "shop", verbosity=0)
call_command("migrate", verbosity=0)
from shop.models import Author, Book, Label

ann = Author.objects.create(name="Ann", born=datetime.date(1970, 1, 2), tags=["x", "y"], doc={"k": [1, 2], "s": "t"})
bob = Author.objects.create(name="Bob")
keys = iter(range(1, 100))
Book.objects.bulk_create([
    Book(id=f"00000000-0000-0000-0000-{next(keys):012}", title=f"T{at}", author=(bob, ann)[at % 2], price=decimal.Decimal(at) / 4,
         length=datetime.timedelta(minutes=at), rating=at / 3) for at in range(12)])


def show(*rows):
    print(*[list(row) if hasattr(row, "__iter__") and not isinstance(row, (str, dict)) else row for row in rows])


books, authors = Book.objects.order_by("title"), Author.objects.order_by("name")
show(books.filter(title__icontains="1", price__gt=1).values_list("title", "price"))
show(authors.filter(doc__k__0=1).values_list("name"), authors.filter(doc__contains={"s": "t"}).values_list("name"), authors.filter(doc__has_key="s").count())
show(authors.filter(tags__contains=["x"]).values_list("tags"), authors.filter(tags__overlap=["y", "z"]).count(), authors.filter(tags__len=2).count())
show(authors.annotate(n=Count("books"), mean=Avg("books__price")).values_list("name", "n", "mean"))
show(authors.annotate(titles=ArrayAgg("books__title", order_by="books__title"), text=StringAgg("books__title", Value(","), order_by="books__title"))
     .values_list("titles", "text"))
show(books.annotate(at=Window(RowNumber(), partition_by="author", order_by="title")).values_list("title", "at"))
show(authors.annotate(best=Subquery(Book.objects.filter(author=OuterRef("pk")).order_by("-price").values("title")[:1])).values_list("name", "best"))
show(authors.filter(Exists(Book.objects.filter(author=OuterRef("pk"), price__gt=2.5))).values_list("name"))
show(authors.annotate(year=ExtractYear("born"), month=TruncMonth("born"), up=Upper("name"), long=Length("name")).values_list("year", "month", "up", "long"))
show(books.annotate(kind=Case(When(price__gt=1, then=Value("hi")), default=Value("lo"))).order_by("kind").values_list("kind").annotate(n=Count("*")))
show(books.annotate(near=Round("rating", precision=1), whole=Cast("price", models.IntegerField())).values_list("near", "whole")[:4])
show(authors.annotate(day=Coalesce("born", Value(datetime.date(1, 1, 1)))).values_list("day"), authors.filter(name__iregex="^a").count())
print(Book.objects.filter(price__gt=2).update(price=F("price") + 1), Book.objects.aggregate(Sum("price")))
Label.objects.bulk_create([Label(name=f"g{at}") for at in range(3)])
print(len(Label.objects.bulk_create([Label(name="g1"), Label(name="g9")], ignore_conflicts=True)), Label.objects.count())
Author.objects.bulk_create([Author(name="Ann", doc={"n": 1})], update_conflicts=True, unique_fields=["name"], update_fields=["doc"])
print(Author.objects.get(name="Ann").doc, Author.objects.get_or_create(name="Cyd")[1], Author.objects.update_or_create(name="Cyd", defaults={"born": None})[1])
label = Label.objects.get(name="g1")
label.books.set(books[:3])
label.books.add(books[0], books[4])
print(label.books.count(), [len(author.books.all()) for author in authors.prefetch_related("books")], books.select_related("author")[0].author.name)
for wrong in ({"name": "Ann"}, {"name": None}):
    try:
        with transaction.atomic():
            Author.objects.create(**wrong)
    except IntegrityError as error:
        print(str(error).splitlines()[0])
with transaction.atomic():
    print(Author.objects.select_for_update().get(name="Ann").name)
show(Author.objects.values_list("name").union(Label.objects.values_list("name")).order_by("name"))
print(sum(1 for _ in books.iterator(chunk_size=5)), Book.objects.filter(author__name="Bob", title="T10").delete()[0])
with connection.cursor() as cursor:
    for table in ("shop_author", "shop_book"):
        for name, about in sorted(connection.introspection.get_constraints(cursor, table).items()):
            print(name, about["columns"], about["primary_key"], about["unique"], about["foreign_key"], about["index"])
        print(connection.introspection.get_sequences(cursor, table), connection.introspection.get_table_description(cursor, table))
models_seen = io.StringIO()
call_command("inspectdb", stdout=models_seen)
print(models_seen.getvalue())
state = MigrationLoader(connection).project_state()
for operation in (
        migrations.AddField("author", "age", models.IntegerField(default=3)), migrations.AlterField("author", "name", models.CharField(max_length=200, unique=True)),
        migrations.RenameField("author", "age", "years"), migrations.AlterField("author", "years", models.BigIntegerField(null=True)),
        migrations.AddIndex("author", models.Index(fields=["years"], name="by_years")), migrations.RemoveIndex("author", "by_years"),
        migrations.AlterUniqueTogether("book", {("title", "price")}), migrations.RemoveField("author", "years"), migrations.RenameModel("Label", "Mark"),
        migrations.AlterModelTable("mark", "marks"), migrations.AddConstraint("book", models.CheckConstraint(condition=Q(rating__lt=1000), name="sane")),
        migrations.DeleteModel("Mark")):
    after = state.clone()
    operation.state_forwards("shop", after)
    with connection.schema_editor() as editor:
        operation.database_forwards("shop", editor, state, after)
    state = after
print(sorted(connection.introspection.table_names()))
